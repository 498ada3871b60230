//! The text format of Prometheus, version 0.0.4: families one after another, each with its help, its type and its samples.
//!
//! A library would have to be told the same names, labels and buckets, and those that were looked at add `_total` to every
//! counter, which Triton's names do not have.

use std::fmt::{Display, Write};

use seedhouse_service::statistics::Distribution;

/// What the values of a metric mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows; begins at 0 when the server starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many values are not above each of some bounds, how many there are, and their sum.
    Histogram,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The names of its labels.
    pub(super) labels: &'static [&'static str],
    /// One sentence.
    pub(super) help: &'static str,
}

/// A text in the making.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// The samples of one metric.
pub(super) struct Family<'e> {
    text: &'e mut String,
    metric: &'static Metric,
}

impl Exposition {
    /// Writes all samples of a metric. Whatever `fill` does, each metric comes once.
    pub(super) fn family(&mut self, metric: &'static Metric, fill: impl FnOnce(&mut Family<'_>)) {
        let Metric { name, kind, help, .. } = metric;
        push(&mut self.text, format_args!("# HELP {name} {}\n# TYPE {name} {}\n", escaped_help(help), kind.as_str()));
        fill(&mut Family { text: &mut self.text, metric });
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// Writes a value; `labels` are those of the metric in their order.
    pub(super) fn sample(&mut self, labels: &[&str], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Writes the lines of a histogram.
    pub(super) fn histogram(&mut self, labels: &[&str], values: &Distribution) {
        for (bound, count) in &values.buckets {
            self.line("_bucket", labels, Some(&bound.to_string()), count);
        }
        self.line("_bucket", labels, Some("+Inf"), values.count);
        self.line("_sum", labels, None, values.sum);
        self.line("_count", labels, None, values.count);
    }

    fn line(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "labels of {}", self.metric.name);
        let names = self.metric.labels.iter().copied().chain(["le"]);
        let pairs = names.zip(labels.iter().copied().chain(bound));
        push(self.text, format_args!("{}{suffix}", self.metric.name));
        let mut separator = '{';
        for (name, value) in pairs {
            push(self.text, format_args!("{separator}{name}=\"{}\"", escaped_label(value)));
            separator = ',';
        }
        let end = if separator == '{' { "" } else { "}" };
        push(self.text, format_args!("{end} {value}\n"));
    }
}

fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

fn escaped_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escaped_label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    static SIZES: Metric =
        Metric { name: "x_sizes", kind: Kind::Histogram, labels: &["model"], help: "Sizes,\nof all \\ kinds." };
    static PLAIN: Metric = Metric { name: "x_plain", kind: Kind::Gauge, labels: &[], help: "Plain." };

    #[test]
    fn format_is_that_of_the_specification() {
        let mut exposition = Exposition::default();
        exposition.family(&PLAIN, |family| family.sample(&[], 2.5));
        let values = Distribution { count: 3, sum: 9.5, buckets: vec![(0.001, 1), (2.0, 2)] };
        exposition.family(&SIZES, |family| family.histogram(&["a \"b\" \\ 麦\n"], &values));
        let expected = r#"# HELP x_plain Plain.
# TYPE x_plain gauge
x_plain 2.5
# HELP x_sizes Sizes,\nof all \\ kinds.
# TYPE x_sizes histogram
x_sizes_bucket{model="a \"b\" \\ 麦\n",le="0.001"} 1
x_sizes_bucket{model="a \"b\" \\ 麦\n",le="2"} 2
x_sizes_bucket{model="a \"b\" \\ 麦\n",le="+Inf"} 3
x_sizes_sum{model="a \"b\" \\ 麦\n"} 9.5
x_sizes_count{model="a \"b\" \\ 麦\n"} 3
"#;
        assert_eq!(exposition.into_text(), expected);
    }
}
