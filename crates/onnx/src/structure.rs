//! Whether a graph hangs together: every value is made before it is used and only once, so there is no cycle, and no chain of operators
//! is so long that the runtime, which follows it by recursion, would run out of stack.
//!
//! On the way everything in the graph is counted for the record.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::element_type::ElementType;
use crate::proto::{AttributeValue, Graph, Node, TensorProto, ValueInfo, ValueKind};
use crate::sizes;
use crate::wire::Broken;

/// The longest chain of operators, of which each needs the one before. Language models of 48 layers have about 3,000.
pub(crate) const LONGEST_CHAIN: u32 = 4_000;

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// How often each operator occurs, by domain and name, the bodies of operators included.
    pub(crate) operators: BTreeMap<(String, String), u64>,
    /// How many tensors there are of each type.
    pub(crate) tensor_types: BTreeMap<ElementType, u64>,
    /// How many numbers they hold.
    pub(crate) parameter_count: u64,
}

/// The names that a graph may use, and how long the chain of operators is that ends there.
struct Scope<'s, 'a> {
    chains: HashMap<&'a str, u32>,
    /// Small tensors of whole numbers whose values are known.
    constants: HashMap<&'a str, Vec<i64>>,
    outer: Option<&'s Scope<'s, 'a>>,
}

impl<'a> Scope<'_, 'a> {
    fn chain(&self, name: &str) -> Option<u32> {
        self.chains.get(name).copied().or_else(|| self.outer?.chain(name))
    }

    fn constant(&self, name: &str) -> Option<&[i64]> {
        match self.chains.contains_key(name) {
            true => self.constants.get(name).map(Vec::as_slice),
            false => self.outer?.constant(name),
        }
    }

    fn make(&mut self, name: &'a str, chain: u32) -> Result<(), Broken> {
        if name.is_empty() || name.contains(char::is_control) {
            return Err(Broken::new(format!("the name `{}` is empty or has control characters", name.escape_debug())));
        }
        match self.chains.insert(name, chain) {
            None => Ok(()),
            Some(_) => Err(Broken::new(format!("the value `{name}` is made twice"))),
        }
    }

    fn keep(&mut self, name: &'a str, tensor: &TensorProto<'_>) {
        if let Some(values) = tensor.small_integers() {
            self.constants.insert(name, values);
        }
    }
}

/// Checks a whole graph and counts what is in it.
pub(crate) fn check(graph: &Graph<'_>) -> Result<Facts, Broken> {
    let mut facts = Facts::default();
    for value in graph.inputs.iter().chain(&graph.outputs) {
        sizes::check_declared(value)?;
    }
    check_graph(graph, None, 0, &mut facts)?;
    Ok(facts)
}

/// Returns how long the longest chain is, that of the values it takes from outside (`start`) included.
fn check_graph<'a>(
    graph: &Graph<'a>,
    outer: Option<&Scope<'_, 'a>>,
    start: u32,
    facts: &mut Facts,
) -> Result<u32, Broken> {
    let mut scope = Scope { chains: HashMap::new(), constants: HashMap::new(), outer };
    let mut longest = start;
    for tensor in &graph.initializers {
        count_tensor(tensor, facts)?;
        scope.make(tensor.name, 0)?;
        scope.keep(tensor.name, tensor);
    }
    // Files of the first versions of the format list initializers among the inputs.
    for input in free_inputs(graph) {
        scope.make(input.name, start)?;
    }
    for node in &graph.nodes {
        longest = longest.max(check_node(node, &mut scope, start, facts)?);
    }
    let mut outputs = HashSet::new();
    for ValueInfo { name, .. } in &graph.outputs {
        if !outputs.insert(*name) {
            return Err(Broken::new(format!("the output `{name}` is named twice")));
        }
        if name.is_empty() || !scope.chains.contains_key(name) {
            return Err(Broken::new(format!("the output `{name}` is made by nothing")));
        }
    }
    Ok(longest)
}

fn check_node<'a>(node: &Node<'a>, scope: &mut Scope<'_, 'a>, start: u32, facts: &mut Facts) -> Result<u32, Broken> {
    let about = |reason: String| Broken(format!("node `{}` ({}) {reason}", node.name, node.operator));
    *facts.operators.entry((node.domain.to_owned(), node.operator.to_owned())).or_default() += 1;
    let mut chain = start;
    for name in node.inputs.iter().filter(|name| !name.is_empty()) {
        let made = scope.chain(name).ok_or_else(|| {
            about(format!(
                "needs the value `{name}`, which nothing before it makes: the graph has a cycle or is out of order"
            ))
        })?;
        chain = chain.max(made);
    }
    chain += 1;
    for attribute in &node.attributes {
        match &attribute.value {
            AttributeValue::Graph(body) => chain = chain.max(check_graph(body, Some(&*scope), chain, facts)?),
            AttributeValue::Tensor(tensor) => count_tensor(tensor, facts)?,
            _ => {}
        }
    }
    if chain > LONGEST_CHAIN {
        return Err(about(format!("is the end of a chain of more than {LONGEST_CHAIN} operators")));
    }
    sizes::check_made(node, &|name| scope.constant(name)).map_err(|Broken(reason)| about(reason))?;
    for &name in node.outputs.iter().filter(|name| !name.is_empty()) {
        scope.make(name, chain)?;
    }
    if let (Some(tensor), &[output]) = (sizes::constant_of(node), &node.outputs[..]) {
        scope.keep(output, tensor);
    }
    Ok(chain)
}

fn count_tensor(tensor: &TensorProto<'_>, facts: &mut Facts) -> Result<(), Broken> {
    *facts.tensor_types.entry(tensor.element).or_default() += 1;
    facts.parameter_count = facts.parameter_count.saturating_add(tensor.count as u64);
    Ok(())
}

/// Returns the inputs that a request gives: those without an initializer.
pub(crate) fn free_inputs<'g, 'a>(graph: &'g Graph<'a>) -> impl Iterator<Item = &'g ValueInfo<'a>> {
    let constants: HashSet<&str> = graph.initializers.iter().map(|tensor| tensor.name).collect();
    graph.inputs.iter().filter(move |input| !constants.contains(input.name))
}

/// Returns the first input or output that is no tensor of a known number of dimensions or type.
pub(crate) fn unsuitable_value(graph: &Graph<'_>) -> Option<String> {
    let unsuitable = |what: &str, value: &ValueInfo<'_>, needs_shape: bool| {
        let reason = match &value.kind {
            ValueKind::Tensor { element, .. } if element.tensor_type().is_none() => {
                format!("{} values", element.name())
            }
            ValueKind::Tensor { shape: None, .. } if needs_shape => "an unknown number of dimensions".into(),
            ValueKind::Tensor { .. } => return None,
            ValueKind::Unsaid => "no type".into(),
            ValueKind::Other(other) => format!("{other} instead of a tensor"),
        };
        Some(format!("{what} `{}` has {reason}", value.name))
    };
    let inputs = free_inputs(graph).find_map(|value| unsuitable("input", value, true));
    inputs.or_else(|| graph.outputs.iter().find_map(|value| unsuitable("output", value, false)))
}
