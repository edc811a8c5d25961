//! Counted permits: how many sessions or snapshots may exist at one time.

use std::cell::Cell;
use std::rc::Rc;

/// A number of permits.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    used: Rc<Cell<usize>>,
    max: usize,
}

/// One permit, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    used: Rc<Cell<usize>>,
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self {
            used: Rc::new(Cell::new(0)),
            max,
        }
    }

    /// A permit, if one is left.
    pub(super) fn take(&self) -> Option<Slot> {
        if self.used.get() >= self.max {
            return None;
        }
        self.used.set(self.used.get() + 1);
        Some(Slot {
            used: Rc::clone(&self.used),
        })
    }

    pub(super) fn used(&self) -> usize {
        self.used.get()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.used.set(self.used.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_run_out_and_come_back() {
        let slots = Slots::new(1);
        let slot = slots.take();
        assert!(slot.is_some() && slots.take().is_none());
        drop(slot);
        assert!(slots.take().is_some());
        assert_eq!(slots.used(), 0);
    }
}
