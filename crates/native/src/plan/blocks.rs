//! Which blocks of the key/value store are whose. Sequences that begin alike share blocks; the last one, which is still being
//! filled, becomes a sequence's own before it writes.

/// Counts who uses each block.
#[derive(Debug)]
pub(super) struct Blocks {
    users: Vec<u32>,
    free: Vec<u32>,
    touched: usize,
}

impl Blocks {
    pub(super) fn new(count: usize) -> Blocks {
        let count = u32::try_from(count).expect("blocks are numbered in 32 bits, as the store does");
        Blocks { users: vec![0; count as usize], free: (0..count).rev().collect(), touched: 0 }
    }

    /// Returns how many blocks nobody uses.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a block that nobody uses.
    pub(super) fn take(&mut self) -> Option<u32> {
        let block = self.free.pop()?;
        self.users[block as usize] = 1;
        self.touched = self.touched.max(block as usize + 1);
        Some(block)
    }

    /// Returns how many blocks were ever used: their memory is taken and stays so. Those that are given back are used first.
    pub(super) fn touched(&self) -> usize {
        self.touched
    }

    /// Adds a user to a block.
    pub(super) fn share(&mut self, block: u32) {
        self.users[block as usize] += 1;
    }

    /// Takes a user away.
    pub(super) fn release(&mut self, block: u32) {
        let users = &mut self.users[block as usize];
        *users -= 1;
        if *users == 0 {
            self.free.push(block);
        }
    }

    /// Returns whether several sequences use a block.
    pub(super) fn is_shared(&self, block: u32) -> bool {
        self.users[block as usize] > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_block_is_free_when_the_last_user_leaves() {
        let mut blocks = Blocks::new(2);
        let block = blocks.take().unwrap();
        blocks.share(block);
        assert!(blocks.is_shared(block));
        blocks.release(block);
        assert!(!blocks.is_shared(block));
        assert_eq!(blocks.free(), 1);
        blocks.release(block);
        assert_eq!(blocks.free(), 2);
        assert_eq!(blocks.touched(), 1);
        assert!(blocks.take().is_some() && blocks.take().is_some() && blocks.take().is_none());
        assert_eq!(blocks.touched(), 2);
    }
}
