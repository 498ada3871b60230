//! An ONNX file as it says itself, borrowed from its bytes: `ModelProto` and what is in it.
//!
//! Field numbers are those of `onnx.proto3` of the ONNX project. What the program has no use for (texts for people, shapes claimed for
//! values in the middle of the graph) is read over; what it cannot compute with is kept as a word that says so.

mod attribute;
mod tensor;
mod value_info;

pub(crate) use self::attribute::{Attribute, AttributeValue};
pub(crate) use self::tensor::{External, Payload, TensorProto, check_length};
pub(crate) use self::value_info::{ValueInfo, ValueKind};

use crate::wire::{Broken, Fields, Wire};

/// How deep graphs may lie in the operators of graphs. Real ones have 3.
const MOST_NESTED: usize = 16;

/// How many messages and names a file may have in all: each becomes an object in memory, which is larger than its bytes.
const MOST_PARTS: usize = 4_000_000;

/// A whole file.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) ir_version: i64,
    pub(crate) producer: String,
    /// Domain (`""` is ONNX's own) and version of each imported operator set.
    pub(crate) opset_imports: Vec<(&'a str, i64)>,
    pub(crate) graph: Graph<'a>,
    /// Whether operators are defined in the file itself.
    pub(crate) has_functions: bool,
}

/// A graph, or the body of an operator.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    pub(crate) nodes: Vec<Node<'a>>,
    pub(crate) initializers: Vec<TensorProto<'a>>,
    pub(crate) has_sparse_initializers: bool,
    pub(crate) inputs: Vec<ValueInfo<'a>>,
    pub(crate) outputs: Vec<ValueInfo<'a>>,
}

/// An operator with its inputs and outputs.
#[derive(Debug, Default)]
pub(crate) struct Node<'a> {
    pub(crate) name: &'a str,
    pub(crate) operator: &'a str,
    pub(crate) domain: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    pub(crate) attributes: Vec<Attribute<'a>>,
}

/// Counts what is read, so that a small file cannot become a large amount of memory.
#[derive(Debug)]
pub(crate) struct Reader {
    parts_left: usize,
    depth: usize,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader { parts_left: MOST_PARTS, depth: 0 }
    }

    fn count(&mut self) -> Result<(), Broken> {
        self.parts_left = self
            .parts_left
            .checked_sub(1)
            .ok_or_else(|| Broken::new(format!("it has more than {MOST_PARTS} parts")))?;
        Ok(())
    }

    fn graph<'a>(&mut self, bytes: &'a [u8]) -> Result<Graph<'a>, Broken> {
        if self.depth == MOST_NESTED {
            return Err(Broken::new(format!("graphs lie in graphs more than {MOST_NESTED} deep")));
        }
        self.depth += 1;
        let mut graph = Graph::default();
        for field in Fields::new(bytes, "a graph") {
            let (number, value) = field?;
            self.count()?;
            match number {
                1 => graph.nodes.push(self.node(value.bytes("a node")?)?),
                5 => graph.initializers.push(self.tensor(value.bytes("an initializer")?)?),
                11 => graph.inputs.push(ValueInfo::read(value.bytes("an input")?)?),
                12 => graph.outputs.push(ValueInfo::read(value.bytes("an output")?)?),
                15 => graph.has_sparse_initializers = true,
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(graph)
    }

    fn node<'a>(&mut self, bytes: &'a [u8]) -> Result<Node<'a>, Broken> {
        let mut node = Node::default();
        for field in Fields::new(bytes, "a node") {
            let (number, value) = field?;
            self.count()?;
            match number {
                1 => node.inputs.push(value.text("the input of a node")?),
                2 => node.outputs.push(value.text("the output of a node")?),
                3 => node.name = value.text("the name of a node")?,
                4 => node.operator = value.text("the operator of a node")?,
                5 => node.attributes.push(self.attribute(value.bytes("an attribute")?)?),
                7 => node.domain = own_domain(value.text("the domain of a node")?),
                _ => {}
            }
        }
        Ok(node)
    }
}

impl<'a> Model<'a> {
    /// Reads a file.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Model<'a>, Broken> {
        let mut reader = Reader::new();
        let (mut ir_version, mut producer, mut graph) = (0, (String::new(), ""), None);
        let (mut opset_imports, mut has_functions) = (Vec::new(), false);
        for field in Fields::new(bytes, "the model") {
            let (number, value) = field?;
            reader.count()?;
            match number {
                1 => ir_version = value.integer("`ir_version`")?,
                2 => producer.0 = value.text("`producer_name`")?.to_owned(),
                3 => producer.1 = value.text("`producer_version`")?,
                7 if graph.is_some() => return Err(Broken::new("it has two graphs")),
                7 => graph = Some(reader.graph(value.bytes("the graph")?)?),
                8 => opset_imports.push(opset_import(value)?),
                25 => has_functions = true,
                _ => {}
            }
        }
        let graph = graph.ok_or_else(|| Broken::new("it has no graph"))?;
        let producer = format!("{} {}", producer.0, producer.1).trim().to_owned();
        Ok(Model { ir_version, producer, opset_imports, graph, has_functions })
    }
}

fn opset_import(value: Wire<'_>) -> Result<(&str, i64), Broken> {
    let (mut domain, mut version) = ("", 0);
    for field in Fields::new(value.bytes("an operator set")?, "an operator set") {
        match field? {
            (1, value) => domain = own_domain(value.text("the domain of an operator set")?),
            (2, value) => version = value.integer("the version of an operator set")?,
            _ => {}
        }
    }
    Ok((domain, version))
}

/// ONNX's own domain has two spellings.
fn own_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}
