//! What a network learns: matrices with the names under which they are stored.
//!
//! A matrix here may be several tensors of a file, one under the other (queries, keys and values), so that one product computes all of
//! them. Weights of convolutions lie here with the inputs of a pixel side by side, as images do, and in files as torch writes them.

use std::collections::BTreeSet;

use seedhouse_core::{Error, Result};

use crate::random::{Purpose, Random};
use crate::start::Weights;

/// A matrix that is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ParameterId(usize);

/// How a matrix takes part in learning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Learned, and shrunk by the decay.
    Weight,
    /// Learned, and not shrunk: biases, gains of norms.
    Plain,
    /// Counted on the way: running means and variances.
    Statistic,
}

/// What a matrix is before anything is learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Start {
    Constant(f32),
    /// Normal, with this deviation.
    Normal(f32),
}

/// How numbers of a tensor lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As here.
    Rows,
    /// `[outputs, inputs, area]` for `[outputs, area, inputs]`.
    Convolution { inputs: usize, area: usize },
    /// `[columns, rows]`.
    Transposed,
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
}

impl StoredTensor {
    fn new(name: impl Into<String>, shape: &[usize]) -> StoredTensor {
        StoredTensor { name: name.into(), shape: shape.to_vec() }
    }

    pub(crate) fn length(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A matrix.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) values: Vec<f32>,
    /// Empty of statistics.
    pub(crate) gradient: Vec<f32>,
    /// Whether anything was added to the gradient since the last update; what stands there before means nothing.
    pub(crate) has_gradient: bool,
    pub(crate) kind: Kind,
    pub(crate) columns: usize,
    pub(crate) tensors: Vec<StoredTensor>,
    order: Order,
}

/// All matrices of a network.
#[derive(Debug)]
pub(crate) struct Parameters {
    pub(crate) list: Vec<Parameter>,
    values: Values,
}

/// Where the first values of matrices come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// Random numbers that begin with this seed.
    Seed(u64),
    /// A version: nothing has values before [`Parameters::load`], because sizes are only claims until its tensors confirm them.
    Version,
}

impl Parameters {
    /// Returns none yet; random numbers begin with the seed.
    pub(crate) fn new(seed: u64) -> Parameters {
        Parameters { list: Vec::new(), values: Values::Seed(seed) }
    }

    /// Returns none yet; those that are added are empty until [`load`](Parameters::load) fills them.
    pub(crate) fn of_version() -> Parameters {
        Parameters { list: Vec::new(), values: Values::Version }
    }

    fn add(
        &mut self,
        kind: Kind,
        columns: usize,
        tensors: Vec<StoredTensor>,
        order: Order,
        start: Start,
    ) -> ParameterId {
        let mut parameter =
            Parameter { values: Vec::new(), gradient: Vec::new(), has_gradient: false, kind, columns, tensors, order };
        if let Values::Seed(seed) = self.values {
            let mut values = vec![0.0; parameter.length()];
            match start {
                Start::Constant(constant) => values.fill(constant),
                Start::Normal(deviation) => {
                    Random::new(seed, Purpose::Weights, [self.list.len() as u64, 0])
                        .fill_normal(&mut values, deviation);
                }
            }
            parameter.begin_with(values);
        }
        self.list.push(parameter);
        ParameterId(self.list.len() - 1)
    }

    /// Adds a matrix `[outputs, inputs]`.
    pub(crate) fn matrix(&mut self, name: &str, outputs: usize, inputs: usize, start: Start) -> ParameterId {
        self.add(Kind::Weight, inputs, vec![StoredTensor::new(name, &[outputs, inputs])], Order::Rows, start)
    }

    /// Adds a matrix `[outputs, inputs]` that files have as `[inputs, outputs]`.
    pub(crate) fn transposed_matrix(&mut self, name: &str, outputs: usize, inputs: usize, start: Start) -> ParameterId {
        self.add(Kind::Weight, inputs, vec![StoredTensor::new(name, &[inputs, outputs])], Order::Transposed, start)
    }

    /// Adds matrices with the same inputs, one under the other.
    pub(crate) fn joined(&mut self, parts: &[(String, usize)], inputs: usize, start: Start) -> ParameterId {
        let tensors = parts.iter().map(|(name, outputs)| StoredTensor::new(name, &[*outputs, inputs])).collect();
        self.add(Kind::Weight, inputs, tensors, Order::Rows, start)
    }

    /// Adds a tensor of this shape that is used as rows of the last dimension and is not shrunk.
    pub(crate) fn table(&mut self, name: &str, shape: &[usize], start: Start) -> ParameterId {
        let columns = shape.last().copied().unwrap_or(1);
        self.add(Kind::Plain, columns, vec![StoredTensor::new(name, shape)], Order::Rows, start)
    }

    /// Adds a row that is not shrunk: a bias, or the gain of a norm.
    pub(crate) fn row(&mut self, name: &str, length: usize, start: f32) -> ParameterId {
        self.rows(&[(name.to_owned(), length)], start)
    }

    /// Adds rows side by side: the biases of joined matrices.
    pub(crate) fn rows(&mut self, parts: &[(String, usize)], start: f32) -> ParameterId {
        let tensors: Vec<StoredTensor> =
            parts.iter().map(|(name, length)| StoredTensor::new(name, &[*length])).collect();
        let length = tensors.iter().map(StoredTensor::length).sum();
        self.add(Kind::Plain, length, tensors, Order::Rows, Start::Constant(start))
    }

    /// Adds a row that is counted and not learned.
    pub(crate) fn statistic(&mut self, name: &str, length: usize, start: f32) -> ParameterId {
        let tensors = vec![StoredTensor::new(name, &[length])];
        self.add(Kind::Statistic, length, tensors, Order::Rows, Start::Constant(start))
    }

    /// Adds the weights of a convolution of `side x side`.
    pub(crate) fn convolution(&mut self, name: &str, [outputs, inputs, side]: [usize; 3], start: Start) -> ParameterId {
        let area = side * side;
        let tensors = vec![StoredTensor::new(name, &[outputs, inputs, side, side])];
        self.add(Kind::Weight, inputs * area, tensors, Order::Convolution { inputs, area }, start)
    }

    /// Adds the weights of a convolution whose windows do not overlap. They lie as in a file: channel, row, column.
    pub(crate) fn patches(&mut self, name: &str, [outputs, inputs, side]: [usize; 3], start: Start) -> ParameterId {
        let tensors = vec![StoredTensor::new(name, &[outputs, inputs, side, side])];
        self.add(Kind::Weight, inputs * side * side, tensors, Order::Rows, start)
    }

    /// Returns a matrix.
    pub(crate) fn get(&self, id: ParameterId) -> &Parameter {
        &self.list[id.0]
    }

    /// Returns a matrix to be changed.
    pub(crate) fn get_mut(&mut self, id: ParameterId) -> &mut Parameter {
        &mut self.list[id.0]
    }

    /// Returns how many numbers are learned.
    pub(crate) fn learned(&self) -> usize {
        self.list.iter().map(|parameter| parameter.gradient.len()).sum()
    }

    /// Forgets all gradients.
    pub(crate) fn forget_gradients(&mut self) {
        self.list.iter_mut().for_each(|parameter| parameter.has_gradient = false);
    }

    /// Returns the tensors as a file has them. `values` are the numbers of all matrices, in their order.
    pub(crate) fn tensors<'v>(&self, values: impl Iterator<Item = &'v [f32]>) -> Vec<(StoredTensor, Vec<f32>)> {
        let mut tensors = Vec::new();
        for (parameter, values) in self.list.iter().zip(values) {
            let mut rest = values;
            for tensor in &parameter.tensors {
                let (own, others) = rest.split_at(tensor.length());
                tensors.push((tensor.clone(), parameter.to_file(own)));
                rest = others;
            }
        }
        tensors
    }

    /// Takes the values of tensors as a file has them. All shapes are checked before anything is allocated for one.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the tensor that is missing, superfluous or of another shape; [`Error::Io`].
    pub(crate) fn load(&mut self, weights: &mut Weights) -> Result<()> {
        self.check(weights)?;
        for parameter in &mut self.list {
            let mut values = Vec::with_capacity(parameter.length());
            for tensor in &parameter.tensors {
                let numbers = weights.numbers(&tensor.name)?.ok_or_else(|| missing(tensor))?;
                values.extend(parameter.of_file(&numbers));
            }
            parameter.begin_with(values);
        }
        Ok(())
    }

    fn check(&self, weights: &Weights) -> Result<()> {
        let mut superfluous: BTreeSet<&str> = weights.names().collect();
        for tensor in self.list.iter().flat_map(|parameter| &parameter.tensors) {
            let shape = weights.shape(&tensor.name).ok_or_else(|| missing(tensor))?;
            if shape != tensor.shape {
                let rule = format!("the network to be trained has the shape {:?}", tensor.shape);
                return Err(Error::invalid(&tensor.name, format!("{shape:?}"), rule));
            }
            superfluous.remove(&*tensor.name);
        }
        match superfluous.first() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(*name, "present", "the network to be trained has no such tensor")),
        }
    }
}

fn missing(tensor: &StoredTensor) -> Error {
    let rule = format!("the version to begin with must have it, with the shape {:?}", tensor.shape);
    Error::invalid(&tensor.name, "missing", rule)
}

impl Parameter {
    /// Returns how many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.length() / self.columns
    }

    /// Returns how many numbers there are, also where they have no values yet.
    fn length(&self) -> usize {
        self.tensors.iter().map(StoredTensor::length).sum()
    }

    fn begin_with(&mut self, values: Vec<f32>) {
        self.gradient = if self.kind == Kind::Statistic { Vec::new() } else { vec![0.0; values.len()] };
        self.values = values;
    }

    /// Returns the numbers of a tensor in the order of a file.
    fn to_file(&self, numbers: &[f32]) -> Vec<f32> {
        match self.order {
            Order::Rows => numbers.to_vec(),
            Order::Convolution { inputs, area } => exchanged(numbers, area, inputs),
            Order::Transposed => exchanged(numbers, numbers.len() / self.columns, self.columns),
        }
    }

    /// Returns the numbers of a tensor in the order of this matrix.
    fn of_file(&self, numbers: &[f32]) -> Vec<f32> {
        match self.order {
            Order::Rows => numbers.to_vec(),
            Order::Convolution { inputs, area } => exchanged(numbers, inputs, area),
            Order::Transposed => exchanged(numbers, self.columns, numbers.len() / self.columns),
        }
    }
}

/// Exchanges rows and columns of matrices that follow each other.
fn exchanged(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let of_matrix = |matrix: &[f32]| -> Vec<f32> {
        (0..columns)
            .flat_map(|column| (0..rows).map(move |row| (row, column)))
            .map(|(row, column)| matrix[row * columns + column])
            .collect()
    };
    numbers.chunks_exact(rows * columns).flat_map(of_matrix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safetensors::{self, TensorRef};

    #[test]
    fn tensors_go_to_a_file_and_back() {
        let mut parameters = Parameters::new(3);
        parameters.convolution("c", [2, 3, 3], Start::Normal(1.0));
        parameters.transposed_matrix("t", 2, 3, Start::Normal(1.0));
        parameters.joined(&[("q".into(), 2), ("k".into(), 1)], 2, Start::Normal(1.0));
        let values = parameters.list.iter().map(|parameter| &parameter.values[..]);
        let tensors = parameters.tensors(values);
        assert_eq!(tensors[0].0.shape, [2, 3, 3, 3]);
        // Output 1, input 2, place 4.
        assert_eq!(tensors[0].1[27 + 2 * 9 + 4], parameters.list[0].values[27 + 4 * 3 + 2]);
        assert_eq!((tensors[1].0.shape.as_slice(), tensors[1].1[1]), ([3, 2].as_slice(), parameters.list[1].values[3]));
        let before: Vec<Vec<f32>> = parameters.list.iter().map(|parameter| parameter.values.clone()).collect();
        parameters.list.iter_mut().for_each(|parameter| parameter.values.fill(9.0));
        parameters.load(&mut stored(&tensors)).unwrap();
        assert!(parameters.list.iter().zip(&before).all(|(parameter, before)| parameter.values == *before));
        let error = parameters.load(&mut stored(&tensors[1..])).unwrap_err().to_string();
        assert!(error.contains("`c`") && error.contains("missing"), "{error}");
        let mut wrong = tensors.clone();
        wrong[1].0.shape = vec![2, 3];
        let error = parameters.load(&mut stored(&wrong)).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.contains("[3, 2]"), "{error}");
    }

    /// Writes tensors to a file and opens it.
    fn stored(tensors: &[(StoredTensor, Vec<f32>)]) -> Weights {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tensors.safetensors");
        let refs: Vec<TensorRef<'_>> = tensors
            .iter()
            .map(|(tensor, numbers)| TensorRef { name: tensor.name.clone(), shape: tensor.shape.clone(), numbers })
            .collect();
        safetensors::write(&path, &[], &refs).unwrap();
        Weights::of_path(&path).unwrap()
    }

    #[test]
    fn a_network_was_allocated_before_the_weights_were_seen() {
        let mut parameters = Parameters::of_version();
        // As wide as a configuration may claim: 16 TiB, which nobody allocates.
        let wide = parameters.matrix("w", 1 << 21, 1 << 21, Start::Normal(1.0));
        let small = StoredTensor::new("w", &[1, 2]);
        let error = parameters.load(&mut stored(&[(small, vec![0.0; 2])])).unwrap_err().to_string();
        assert!(error.contains("`w` is `[1, 2]`") && error.contains("[2097152, 2097152]"), "{error}");
        assert_eq!(parameters.get(wide).values.len() + parameters.get(wide).gradient.len(), 0);
    }
}
