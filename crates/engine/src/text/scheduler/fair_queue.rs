//! Who is next: clients take turns, however many requests each of them has.

use std::collections::VecDeque;
use std::sync::Arc;

/// Things in line, by client.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// The client whose turn it is stands in front. No line is empty.
    lines: VecDeque<(Arc<str>, VecDeque<T>)>,
}

impl<T> FairQueue<T> {
    pub(super) fn new() -> FairQueue<T> {
        FairQueue { lines: VecDeque::new() }
    }

    pub(super) fn push(&mut self, client: &Arc<str>, thing: T) {
        match self.lines.iter_mut().find(|(name, _)| name == client) {
            Some((_, line)) => line.push_back(thing),
            None => self.lines.push_back((Arc::clone(client), VecDeque::from([thing]))),
        }
    }

    /// Returns who is next without taking it out.
    pub(super) fn peek(&self) -> Option<&T> {
        self.lines.front().and_then(|(_, line)| line.front())
    }

    /// Takes out who is next; the next turn is another client's.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (client, mut line) = self.lines.pop_front()?;
        let thing = line.pop_front();
        if !line.is_empty() {
            self.lines.push_back((client, line));
        }
        thing
    }

    /// Keeps what `keep` says.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.lines.iter_mut().for_each(|(_, line)| line.retain(&mut keep));
        self.lines.retain(|(_, line)| !line.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let (many, few): (Arc<str>, Arc<str>) = ("many".into(), "few".into());
        let mut queue = FairQueue::new();
        (0..4).for_each(|number| queue.push(&many, number));
        queue.push(&few, 10);
        queue.push(&few, 11);
        assert_eq!(queue.peek(), Some(&0));
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3]);
    }

    #[test]
    fn what_is_not_kept_leaves_no_empty_line() {
        let client: Arc<str> = "one".into();
        let mut queue = FairQueue::new();
        queue.push(&client, 1);
        queue.retain(|_| false);
        assert_eq!((queue.peek(), queue.lines.len()), (None, 0));
    }
}
