//! Tiny ONNX files, written byte by byte: broken ones must be writable, too.

/// A field of a message of protocol buffers that holds bytes.
pub fn bytes_field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut field = varint(number << 3 | 2);
    field.extend(varint(bytes.len() as u64));
    field.extend_from_slice(bytes);
    field
}

/// A field that holds a whole number.
pub fn integer_field(number: u64, value: i64) -> Vec<u8> {
    let mut field = varint(number << 3);
    field.extend(varint(value.cast_unsigned()));
    field
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Number of the element type `FLOAT`.
pub const FLOAT: i64 = 1;
/// Number of the element type `INT64`.
pub const INT64: i64 = 7;
/// Number of the element type `BOOL`.
pub const BOOL: i64 = 9;
/// Number of the element type `FLOAT16`.
pub const FLOAT16: i64 = 10;
/// Number of the element type `DOUBLE`.
pub const DOUBLE: i64 = 11;

/// A graph in the making.
#[derive(Debug, Clone, Default)]
pub struct TinyOnnx {
    graph: Vec<u8>,
    opsets: Vec<u8>,
}

impl TinyOnnx {
    /// Begins a graph over this version of ONNX's operators.
    pub fn new(opset: i64) -> TinyOnnx {
        TinyOnnx::default().import("", opset)
    }

    /// Imports operators of another domain.
    #[must_use]
    pub fn import(mut self, domain: &str, version: i64) -> TinyOnnx {
        let import = [bytes_field(1, domain.as_bytes()), integer_field(2, version)].concat();
        self.opsets.extend(bytes_field(8, &import));
        self
    }

    /// Adds an input; a dimension is written as it is given: -1 and 0 as numbers, a text as a name.
    #[must_use]
    pub fn input(self, name: &str, element: i64, shape: &[Dimension<'_>]) -> TinyOnnx {
        self.field(11, &value_info(name, element, shape))
    }

    /// Adds an output.
    #[must_use]
    pub fn output(self, name: &str, element: i64, shape: &[Dimension<'_>]) -> TinyOnnx {
        self.field(12, &value_info(name, element, shape))
    }

    /// Adds an operator with the attributes of [`integer_attribute`] and the like.
    #[must_use]
    pub fn node(self, operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> TinyOnnx {
        self.node_of_domain("", operator, inputs, outputs, attributes)
    }

    /// Does the same for an operator of another domain.
    #[must_use]
    pub fn node_of_domain(
        self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Vec<u8>],
    ) -> TinyOnnx {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| bytes_field(1, name.as_bytes())).collect();
        node.extend(outputs.iter().flat_map(|name| bytes_field(2, name.as_bytes())));
        node.extend(bytes_field(4, operator.as_bytes()));
        node.extend(attributes.iter().flat_map(|attribute| bytes_field(5, attribute)));
        node.extend(bytes_field(7, domain.as_bytes()));
        self.field(1, &node)
    }

    /// Adds a constant.
    #[must_use]
    pub fn tensor(self, name: &str, element: i64, shape: &[i64], raw: &[u8]) -> TinyOnnx {
        self.field(5, &tensor(name, element, shape, raw))
    }

    /// Adds a constant of f32.
    #[must_use]
    pub fn floats(self, name: &str, shape: &[i64], values: &[f32]) -> TinyOnnx {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, FLOAT, shape, &raw)
    }

    /// Adds a constant in another file.
    #[must_use]
    pub fn external(self, name: &str, shape: &[i64], place: &[(&str, &str)]) -> TinyOnnx {
        let mut tensor: Vec<u8> = shape.iter().flat_map(|size| integer_field(1, *size)).collect();
        tensor.extend(integer_field(2, FLOAT));
        tensor.extend(bytes_field(8, name.as_bytes()));
        for (key, value) in place {
            let entry = [bytes_field(1, key.as_bytes()), bytes_field(2, value.as_bytes())].concat();
            tensor.extend(bytes_field(13, &entry));
        }
        tensor.extend(integer_field(14, 1));
        self.field(5, &tensor)
    }

    /// Adds a field of the graph as it is.
    #[must_use]
    pub fn field(mut self, number: u64, bytes: &[u8]) -> TinyOnnx {
        self.graph.extend(bytes_field(number, bytes));
        self
    }

    /// Returns the graph alone, for an attribute.
    pub fn graph(&self) -> &[u8] {
        &self.graph
    }

    /// Returns the file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = integer_field(1, 8);
        bytes.extend(bytes_field(2, b"seedhouse-testkit"));
        bytes.extend(bytes_field(7, &self.graph));
        bytes.extend(&self.opsets);
        bytes
    }
}

/// A dimension as a file writes it.
#[derive(Debug, Clone, Copy)]
pub enum Dimension<'d> {
    /// A number, which may be none of a size.
    Size(i64),
    /// A name.
    Name(&'d str),
}

/// An attribute that is a whole number.
pub fn integer_attribute(name: &str, value: i64) -> Vec<u8> {
    [bytes_field(1, name.as_bytes()), integer_field(3, value), integer_field(20, 2)].concat()
}

/// An attribute that is a graph.
pub fn graph_attribute(name: &str, graph: &[u8]) -> Vec<u8> {
    [bytes_field(1, name.as_bytes()), bytes_field(6, graph), integer_field(20, 5)].concat()
}

/// Returns `y = x · w + b` for rows `x` of two numbers, with w = [[1, 2, 3], [4, 5, 6]] and b = [0.5, 0, -0.5].
pub fn tiny_linear() -> TinyOnnx {
    TinyOnnx::new(17)
        .floats("w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .floats("b", &[3], &[0.5, 0.0, -0.5])
        .node("MatMul", &["x", "w"], &["product"], &[])
        .node("Add", &["product", "b"], &["y"], &[])
        .input("x", FLOAT, &[Dimension::Name("batch"), Dimension::Size(2)])
        .output("y", FLOAT, &[Dimension::Name("batch"), Dimension::Size(3)])
}

/// Returns a classifier of images `[n, 3, height, width]` whose logits are the means of the channels.
pub fn tiny_image_classifier() -> TinyOnnx {
    let free = Dimension::Name("?");
    TinyOnnx::new(17)
        .node("GlobalAveragePool", &["image"], &["means"], &[])
        .node("Flatten", &["means"], &["logits"], &[integer_attribute("axis", 1)])
        .input("image", FLOAT, &[Dimension::Size(-1), Dimension::Size(3), free, free])
        .output("logits", FLOAT, &[Dimension::Size(-1), Dimension::Size(3)])
}

fn tensor(name: &str, element: i64, shape: &[i64], raw: &[u8]) -> Vec<u8> {
    let mut tensor: Vec<u8> = shape.iter().flat_map(|size| integer_field(1, *size)).collect();
    tensor.extend(integer_field(2, element));
    tensor.extend(bytes_field(8, name.as_bytes()));
    tensor.extend(bytes_field(9, raw));
    tensor
}

fn value_info(name: &str, element: i64, shape: &[Dimension<'_>]) -> Vec<u8> {
    let dimension = |dimension: &Dimension<'_>| match dimension {
        Dimension::Size(size) => integer_field(1, *size),
        Dimension::Name(name) => bytes_field(2, name.as_bytes()),
    };
    let shape: Vec<u8> = shape.iter().flat_map(|size| bytes_field(1, &dimension(size))).collect();
    let tensor = [integer_field(1, element), bytes_field(2, &shape)].concat();
    [bytes_field(1, name.as_bytes()), bytes_field(2, &bytes_field(1, &tensor))].concat()
}
