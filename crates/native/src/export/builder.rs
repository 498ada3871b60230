//! A graph as it is put together: nodes with readable names, weights within what a file holds, the layers that families share.

use std::collections::HashSet;

use seedhouse_core::runtime::{Tensor, TensorData, TensorType};
use seedhouse_core::{Dimension, Error, Graph, GraphAttribute, GraphNode, GraphValue, Progress, Result};
use seedhouse_kernels::Nonlinearity;

use crate::layers::{Padding, Square, Weights};

/// The version of ONNX's operators that graphs mean: the first with layer norms, known to every runtime of the last years.
const OPERATOR_SET: u32 = 17;

/// Bytes of weights that one file of the format holds, with room for everything else.
const MOST_WEIGHT_BYTES: usize = (i32::MAX as usize) - (64 << 20);

/// The name of a value.
pub(crate) type Value = String;

/// A graph that grows.
pub(crate) struct GraphBuilder<'p> {
    graph: Graph,
    names: HashSet<String>,
    weight_bytes: usize,
    progress: &'p dyn Progress,
}

impl<'p> GraphBuilder<'p> {
    pub(crate) fn new(progress: &'p dyn Progress) -> GraphBuilder<'p> {
        let graph = Graph { operator_set: OPERATOR_SET, ..Graph::default() };
        GraphBuilder { graph, names: HashSet::new(), weight_bytes: 0, progress }
    }

    /// Returns the graph, which is called so.
    pub(crate) fn finish(self, name: &str) -> Graph {
        Graph { name: name.to_owned(), ..self.graph }
    }

    /// Notes something beside the arithmetic.
    pub(crate) fn note(&mut self, key: &str, text: impl Into<String>) {
        self.graph.notes.insert(key.to_owned(), text.into());
    }

    /// Adds an input.
    pub(crate) fn input(&mut self, name: &str, tensor_type: TensorType, shape: &[Dimension]) -> Value {
        self.names.insert(name.to_owned());
        self.graph.inputs.push(GraphValue { name: name.to_owned(), tensor_type, shape: shape.to_vec() });
        name.to_owned()
    }

    /// Makes a value an output of this name.
    pub(crate) fn output(&mut self, name: &'static str, value: &str, shape: &[Dimension]) {
        let node = GraphNode {
            name: format!("output/{name}"),
            operator: "Identity",
            inputs: vec![value.to_owned()],
            outputs: vec![name.to_owned()],
            attributes: Vec::new(),
        };
        self.graph.nodes.push(node);
        let value = GraphValue { name: name.to_owned(), tensor_type: TensorType::F32, shape: shape.to_vec() };
        self.graph.outputs.push(value);
    }

    /// Adds an operator with one result, which is called as the node.
    pub(crate) fn node(&mut self, name: &str, operator: &'static str, inputs: &[&str]) -> Value {
        self.node_with(name, operator, inputs, Vec::new())
    }

    /// Does the same with settings.
    pub(crate) fn node_with(
        &mut self,
        name: &str,
        operator: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, GraphAttribute)>,
    ) -> Value {
        let name = self.fresh(name);
        let inputs = inputs.iter().map(|input| (*input).to_owned()).collect();
        self.graph.nodes.push(GraphNode {
            name: name.clone(),
            operator,
            inputs,
            outputs: vec![name.clone()],
            attributes,
        });
        name
    }

    /// Returns a name that no value has yet.
    fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{wanted}.{number}");
        }
        name
    }

    /// Makes room for so many numbers of weights.
    ///
    /// # Errors
    /// [`Error::TooLarge`] beyond what a file holds, [`Error::Cancelled`].
    pub(crate) fn reserve(&mut self, count: usize) -> Result<()> {
        self.progress.check()?;
        self.weight_bytes = self.weight_bytes.saturating_add(count.saturating_mul(4));
        if self.weight_bytes <= MOST_WEIGHT_BYTES {
            return Ok(());
        }
        Err(Error::TooLarge {
            what: "the weights of the model as one ONNX file, in 32-bit floating point".into(),
            size: format!("{} bytes or more", self.weight_bytes),
            limit: format!("{MOST_WEIGHT_BYTES} bytes"),
        })
    }

    /// Adds numbers for which there is [room](GraphBuilder::reserve).
    pub(crate) fn reserved(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) -> Value {
        let name = self.fresh(name);
        self.graph.weights.push((name.clone(), Tensor::new(shape.to_vec(), numbers)));
        name
    }

    /// Adds numbers.
    ///
    /// # Errors
    /// As [`reserve`](GraphBuilder::reserve).
    pub(crate) fn weight(&mut self, name: &str, shape: &[usize], numbers: Vec<f32>) -> Result<Value> {
        self.reserve(numbers.len())?;
        Ok(self.reserved(name, shape, numbers))
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: f32) -> Value {
        self.constant(format!("number/{number:e}"), Tensor::new(vec![], vec![number]))
    }

    /// Adds whole numbers, such as a shape.
    pub(crate) fn integers(&mut self, numbers: &[i64]) -> Value {
        let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        let tensor = Tensor { shape: vec![numbers.len()], data: TensorData::I64(numbers.to_vec()) };
        self.constant(format!("integers/{}", words.join(",")), tensor)
    }

    /// Adds one whole number, without a dimension.
    pub(crate) fn integer(&mut self, number: i64) -> Value {
        self.constant(format!("integer/{number}"), Tensor { shape: vec![], data: TensorData::I64(vec![number]) })
    }

    /// Adds a constant that is there once, whoever asks for it.
    fn constant(&mut self, name: String, tensor: Tensor) -> Value {
        if self.names.insert(name.clone()) {
            self.graph.weights.push((name.clone(), tensor));
        }
        name
    }

    pub(crate) fn reshape(&mut self, name: &str, input: &str, shape: &[i64]) -> Value {
        let shape = self.integers(shape);
        self.node(name, "Reshape", &[input, &shape])
    }

    pub(crate) fn transpose(&mut self, name: &str, input: &str, order: &[i64]) -> Value {
        self.node_with(name, "Transpose", &[input], vec![("perm", GraphAttribute::Integers(order.to_vec()))])
    }

    pub(crate) fn cast(&mut self, name: &str, input: &str, to: TensorType) -> Value {
        let number = match to {
            TensorType::F32 => 1,
            TensorType::U8 => 2,
            TensorType::I8 => 3,
            TensorType::I32 => 6,
            TensorType::I64 => 7,
            TensorType::Bool => 9,
            TensorType::F16 => 10,
        };
        self.node_with(name, "Cast", &[input], vec![("to", GraphAttribute::Integer(number))])
    }

    pub(crate) fn softmax(&mut self, name: &str, input: &str) -> Value {
        self.node_with(name, "Softmax", &[input], vec![("axis", GraphAttribute::Integer(-1))])
    }

    pub(crate) fn concat(&mut self, name: &str, inputs: &[&str], axis: i64) -> Value {
        self.node_with(name, "Concat", inputs, vec![("axis", GraphAttribute::Integer(axis))])
    }

    /// Takes places of a dimension.
    pub(crate) fn gather(&mut self, name: &str, input: &str, places: &str, axis: i64) -> Value {
        self.node_with(name, "Gather", &[input, places], vec![("axis", GraphAttribute::Integer(axis))])
    }

    /// Takes a part of a dimension; the ends are values of one whole number each.
    pub(crate) fn slice(&mut self, name: &str, input: &str, [from, to]: [&str; 2], axis: i64) -> Value {
        let axis = self.integers(&[axis]);
        self.node(name, "Slice", &[input, from, to, &axis])
    }

    /// Multiplies rows by a matrix that is given as `[outputs, inputs]`, and adds a bias.
    pub(crate) fn multiply(
        &mut self,
        name: &str,
        input: &str,
        (matrix, [outputs, inputs]): (&[f32], [usize; 2]),
        bias: Option<Vec<f32>>,
    ) -> Result<Value> {
        self.reserve(matrix.len())?;
        let columns = transposed(matrix, inputs);
        let weight = self.reserved(&format!("{name}.weight"), &[inputs, outputs], columns);
        let product = self.node(&format!("{name}/product"), "MatMul", &[input, &weight]);
        self.biased(name, product, bias)
    }

    /// Adds a bias to rows, if there is one.
    pub(crate) fn biased(&mut self, name: &str, rows: Value, bias: Option<Vec<f32>>) -> Result<Value> {
        let Some(bias) = bias else { return Ok(rows) };
        let bias = self.weight(&format!("{name}.bias"), &[bias.len()], bias)?;
        Ok(self.node(name, "Add", &[&rows, &bias]))
    }

    /// A layer `NAME.weight`, `NAME.bias` on rows.
    pub(crate) fn linear(&mut self, weights: &Weights<'_>, name: &str, input: &str) -> Result<Value> {
        let sizes = weights.sizes::<2>(&format!("{name}.weight"))?;
        let matrix = weights.values(&format!("{name}.weight"))?;
        let bias = weights.values(&format!("{name}.bias"))?;
        self.multiply(name, input, (&matrix, sizes), Some(bias))
    }

    /// A convolution `NAME.weight`, `NAME.bias`.
    pub(crate) fn convolution(
        &mut self,
        weights: &Weights<'_>,
        name: &str,
        input: &str,
        square: Square,
    ) -> Result<Value> {
        let sizes = weights.sizes::<4>(&format!("{name}.weight"))?;
        let values = weights.values(&format!("{name}.weight"))?;
        let bias = weights.values(&format!("{name}.bias"))?;
        self.convolve(name, input, (square, 1), (values, sizes), bias)
    }

    /// A convolution with the batch normalisation after it folded in. Channels are in so many groups.
    pub(crate) fn normalised_convolution(
        &mut self,
        weights: &Weights<'_>,
        [convolution, norm]: [&str; 2],
        epsilon: f32,
        input: &str,
        (square, groups): (Square, usize),
    ) -> Result<Value> {
        let sizes = weights.sizes::<4>(&format!("{convolution}.weight"))?;
        let (values, bias) = weights.folded(convolution, norm, epsilon)?;
        self.convolve(convolution, input, (square, groups), (values, sizes), bias)
    }

    fn convolve(
        &mut self,
        name: &str,
        input: &str,
        (square, groups): (Square, usize),
        (values, sizes): (Vec<f32>, [usize; 4]),
        bias: Vec<f32>,
    ) -> Result<Value> {
        let weight = self.weight(&format!("{name}.weight"), &sizes, values)?;
        let bias = self.weight(&format!("{name}.bias"), &[bias.len()], bias)?;
        let mut attributes = window(square);
        attributes.push(("group", GraphAttribute::Integer(groups as i64)));
        Ok(self.node_with(name, "Conv", &[input, &weight, &bias], attributes))
    }

    pub(crate) fn layer_norm(
        &mut self,
        name: &str,
        input: &str,
        (weight, bias): (Vec<f32>, Option<Vec<f32>>),
        epsilon: f32,
    ) -> Result<Value> {
        let mut inputs = vec![self.weight(&format!("{name}.weight"), &[weight.len()], weight)?];
        if let Some(bias) = bias {
            inputs.push(self.weight(&format!("{name}.bias"), &[bias.len()], bias)?);
        }
        let inputs: Vec<&str> = std::iter::once(input).chain(inputs.iter().map(String::as_str)).collect();
        let attributes = vec![("axis", GraphAttribute::Integer(-1)), ("epsilon", GraphAttribute::Float(epsilon))];
        Ok(self.node_with(name, "LayerNormalization", &inputs, attributes))
    }

    /// A layer norm `NAME.weight`, `NAME.bias`.
    pub(crate) fn layer_norm_of(
        &mut self,
        weights: &Weights<'_>,
        name: &str,
        input: &str,
        epsilon: f32,
    ) -> Result<Value> {
        let read = |part: &str| weights.values(&format!("{name}.{part}"));
        self.layer_norm(name, input, (read("weight")?, Some(read("bias")?)), epsilon)
    }

    /// Divides the last dimension by its root mean square.
    pub(crate) fn rms_norm(&mut self, name: &str, input: &str, weight: Vec<f32>, epsilon: f32) -> Result<Value> {
        let weight = self.weight(&format!("{name}.weight"), &[weight.len()], weight)?;
        let epsilon = self.number(epsilon);
        let part = |part: &str| format!("{name}/{part}");
        let squares = self.node(&part("squares"), "Mul", &[input, input]);
        let last = vec![("axes", GraphAttribute::Integers(vec![-1]))];
        let mean = self.node_with(&part("mean"), "ReduceMean", &[&squares], last);
        let above = self.node(&part("above_zero"), "Add", &[&mean, &epsilon]);
        let root = self.node(&part("root"), "Sqrt", &[&above]);
        let quotient = self.node(&part("quotient"), "Div", &[input, &root]);
        Ok(self.node(name, "Mul", &[&quotient, &weight]))
    }

    /// A group norm `NAME.weight`, `NAME.bias` of images.
    pub(crate) fn group_norm(
        &mut self,
        weights: &Weights<'_>,
        name: &str,
        input: &str,
        (groups, epsilon): (usize, f32),
    ) -> Result<Value> {
        let (gain, shift) = (weights.values(&format!("{name}.weight"))?, weights.values(&format!("{name}.bias"))?);
        let part = |part: &str| format!("{name}/{part}");
        let channels = gain.len();
        let shape = self.node(&part("shape"), "Shape", &[input]);
        let grouped = self.reshape(&part("groups"), input, &[0, groups as i64, -1]);
        let ones = self.weight(&part("ones"), &[groups], vec![1.0; groups])?;
        let zeros = self.weight(&part("zeros"), &[groups], vec![0.0; groups])?;
        let attributes = vec![("epsilon", GraphAttribute::Float(epsilon))];
        let normed = self.node_with(&part("normed"), "InstanceNormalization", &[&grouped, &ones, &zeros], attributes);
        let whole = self.node(&part("whole"), "Reshape", &[&normed, &shape]);
        let gain = self.weight(&format!("{name}.weight"), &[1, channels, 1, 1], gain)?;
        let shift = self.weight(&format!("{name}.bias"), &[1, channels, 1, 1], shift)?;
        let scaled = self.node(&part("scaled"), "Mul", &[&whole, &gain]);
        Ok(self.node(name, "Add", &[&scaled, &shift]))
    }

    /// The function of every number.
    pub(crate) fn nonlinearity(&mut self, name: &str, function: Nonlinearity, input: &str) -> Value {
        match function {
            Nonlinearity::Relu => self.node(name, "Relu", &[input]),
            Nonlinearity::Relu6 => {
                let (low, high) = (self.number(0.0), self.number(6.0));
                self.node(name, "Clip", &[input, &low, &high])
            }
            Nonlinearity::Silu => {
                let gate = self.node(&format!("{name}/gate"), "Sigmoid", &[input]);
                self.node(name, "Mul", &[input, &gate])
            }
            Nonlinearity::GeluErf => self.gelu_erf(name, input),
            Nonlinearity::GeluTanh => self.gelu_tanh(name, input),
        }
    }

    /// `x / 2 (1 + erf(x / sqrt 2))`
    fn gelu_erf(&mut self, name: &str, input: &str) -> Value {
        let root = self.number(std::f32::consts::SQRT_2);
        let scaled = self.node(&format!("{name}/scaled"), "Div", &[input, &root]);
        let error = self.node(&format!("{name}/erf"), "Erf", &[&scaled]);
        self.half_of_one_and(name, input, &error)
    }

    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`
    fn gelu_tanh(&mut self, name: &str, input: &str) -> Value {
        let part = |part: &str| format!("{name}/{part}");
        let (share, root) = (self.number(0.044_715), self.number((2.0 / std::f64::consts::PI).sqrt() as f32));
        let square = self.node(&part("square"), "Mul", &[input, input]);
        let cube = self.node(&part("cube"), "Mul", &[&square, input]);
        let little = self.node(&part("little"), "Mul", &[&cube, &share]);
        let sum = self.node(&part("sum"), "Add", &[input, &little]);
        let scaled = self.node(&part("scaled"), "Mul", &[&sum, &root]);
        let tanh = self.node(&part("tanh"), "Tanh", &[&scaled]);
        self.half_of_one_and(name, input, &tanh)
    }

    fn half_of_one_and(&mut self, name: &str, input: &str, more: &str) -> Value {
        let (one, half) = (self.number(1.0), self.number(0.5));
        let factor = self.node(&format!("{name}/factor"), "Add", &[more, &one]);
        let halved = self.node(&format!("{name}/halved"), "Mul", &[input, &half]);
        self.node(name, "Mul", &[&halved, &factor])
    }

    /// Attention of all rows of a sequence to all: rows are `[batch, sequence, width]`. `hidden` is added to the products.
    pub(crate) fn mutual_attention(
        &mut self,
        name: &str,
        [query, key, value]: [&str; 3],
        heads: usize,
        head_width: usize,
        hidden: Option<&str>,
    ) -> Value {
        let part = |part: &str| format!("{name}/{part}");
        let by_head = [0, 0, heads as i64, head_width as i64];
        let query = self.reshape(&part("query_heads"), query, &by_head);
        let query = self.transpose(&part("queries"), &query, &[0, 2, 1, 3]);
        let key = self.reshape(&part("key_heads"), key, &by_head);
        let key = self.transpose(&part("keys"), &key, &[0, 2, 3, 1]);
        let value = self.reshape(&part("value_heads"), value, &by_head);
        let value = self.transpose(&part("values"), &value, &[0, 2, 1, 3]);
        let products = self.node(&part("products"), "MatMul", &[&query, &key]);
        let scale = self.number((1.0 / (head_width as f64).sqrt()) as f32);
        let mut scores = self.node(&part("scores"), "Mul", &[&products, &scale]);
        if let Some(hidden) = hidden {
            scores = self.node(&part("seen"), "Add", &[&scores, hidden]);
        }
        let shares = self.softmax(&part("shares"), &scores);
        let attended = self.node(&part("attended"), "MatMul", &[&shares, &value]);
        let rows = self.transpose(&part("rows"), &attended, &[0, 2, 1, 3]);
        self.reshape(&part("joined"), &rows, &[0, 0, (heads * head_width) as i64])
    }
}

/// The settings of a window.
pub(crate) fn window(Square { size, stride, padding }: Square) -> Vec<(&'static str, GraphAttribute)> {
    let twice = |number: usize| GraphAttribute::Integers(vec![number as i64; 2]);
    let around = match padding {
        Padding::Zeros(zeros) => ("pads", GraphAttribute::Integers(vec![zeros as i64; 4])),
        // TensorFlow puts the odd zero behind.
        Padding::Same => ("auto_pad", GraphAttribute::Text("SAME_UPPER")),
    };
    vec![("kernel_shape", twice(size)), ("strides", twice(stride)), around]
}

/// Returns a matrix of rows of so many numbers the other way round.
fn transposed(matrix: &[f32], width: usize) -> Vec<f32> {
    /// Rows and columns that are turned together: they stay in the first cache.
    const TOGETHER: usize = 32;
    let rows = matrix.len() / width.max(1);
    let mut columns = vec![0.0; matrix.len()];
    for first_row in (0..rows).step_by(TOGETHER) {
        for first_column in (0..width).step_by(TOGETHER) {
            for row in first_row..rows.min(first_row + TOGETHER) {
                for column in first_column..width.min(first_column + TOGETHER) {
                    columns[column * rows + row] = matrix[row * width + column];
                }
            }
        }
    }
    columns
}
