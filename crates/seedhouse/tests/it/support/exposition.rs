//! Reads the text format of Prometheus and refuses whatever its specification does.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    samples: BTreeMap<Series, f64>,
    /// Kinds of families by name.
    pub(crate) families: BTreeMap<String, String>,
}

/// A name and labels in their order.
type Series = (String, Vec<(String, String)>);

impl Exposition {
    /// # Panics
    /// At the first line that breaks a rule.
    pub(crate) fn parse(text: &str) -> Exposition {
        assert!(text.ends_with('\n'), "the last line has an end");
        let mut read = Exposition::default();
        let (mut open, mut helped) = (None::<(String, String)>, BTreeSet::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind) && helped.contains(name), "{line}");
                assert!(read.families.insert(name.into(), kind.into()).is_none(), "{name} comes twice");
                open = Some((name.into(), kind.into()));
            } else {
                let (family, kind) = open.as_ref().expect("a type stands before samples");
                read.add(line, family, kind);
            }
        }
        read.check_histograms();
        read
    }

    fn add(&mut self, line: &str, family: &str, kind: &str) {
        let (head, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
        let (name, labels) = match head.split_once('{') {
            None => (head, Vec::new()),
            Some((name, rest)) => (name, labels(rest.strip_suffix('}').unwrap_or_else(|| panic!("open: {line}")))),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        assert!(name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} stands among {family}"));
        let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(allowed.contains(&suffix), "{line}");
        assert!(kind == "gauge" || value >= 0.0, "{line}");
        let mut names: Vec<&String> = labels.iter().map(|(name, _)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), labels.len(), "a label comes twice: {line}");
        assert!(self.samples.insert((name.into(), labels), value).is_none(), "a sample comes twice: {line}");
    }

    fn check_histograms(&self) {
        let mut buckets: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), count) in &self.samples {
            let Some(family) = name.strip_suffix("_bucket").filter(|name| self.families.contains_key(*name)) else {
                continue;
            };
            let (le, others) = labels.split_last().unwrap();
            assert_eq!(le.0, "le", "{name}");
            let bound = if le.1 == "+Inf" { f64::INFINITY } else { le.1.parse().unwrap() };
            buckets.entry((family.into(), others.to_vec())).or_default().push((bound, *count));
        }
        for ((family, labels), mut counts) in buckets {
            counts.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            assert!(counts.is_sorted_by(|(_, a), (_, b)| a <= b), "{family} {labels:?} {counts:?}");
            let (last, total) = *counts.last().unwrap();
            assert_eq!((last, Some(&total)), (f64::INFINITY, self.samples.get(&(format!("{family}_count"), labels))));
        }
    }

    /// Returns a sample that must be there; labels in their order.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {:#?}", self.samples.keys()))
    }

    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// Returns whether a label has this value anywhere.
    pub(crate) fn mentions(&self, label: &str, value: &str) -> bool {
        self.samples.keys().any(|(_, labels)| labels.iter().any(|(name, of)| name == label && of == value))
    }
}

fn labels(text: &str) -> Vec<(String, String)> {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("not a label: {rest}"));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty(), "{rest}");
        let (mut value, mut characters) = (String::new(), after.char_indices());
        let end = loop {
            let (index, character) = characters.next().unwrap_or_else(|| panic!("no end: {rest}"));
            match character {
                '"' => break index,
                '\\' => value.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    plain @ ('\\' | '"') => plain,
                    other => panic!("unknown escape \\{other} in {rest}"),
                }),
                other => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        match after[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                assert!(after[end + 1..].is_empty(), "{rest}");
                return labels;
            }
        }
    }
}
