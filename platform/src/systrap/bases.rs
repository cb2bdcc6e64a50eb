//! Which area belongs to a guest thread: the page of bases, by which trampolines of patched call sites find it.
//!
//! A trampoline knows nothing of its thread but the FS base, which a thread has to itself in practice. Each base belongs to one slot of a small
//! table that guests can read only; the slot's owner is the thread whose calls may go by its area. A thread that owns no slot, because another
//! has one for the same slot, is trapped as from a site that is not patched. The owner also finds here what it is called, so that `getpid` and `gettid` need nobody. When two threads have the same base (after `vfork`), neither may use it.
//!
//! Locks: `slots` is a leaf.

use std::sync::Mutex;

use super::control::{ControlMemory, area_address};
use super::layout::bases;
use super::pool::lock;
use crate::Identity;

/// A word in the table of negated bases that no base of a thread adds to zero.
const NOBODY: u64 = 1;

/// The claims of the threads of one stub process.
#[derive(Debug, Default)]
pub struct Bases {
    slots: Mutex<Vec<Slot>>,
}

#[derive(Debug, Default, Clone)]
struct Slot {
    /// The area of the owner.
    owner: Option<u64>,
    claims: Vec<Claim>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    area: u64,
    base: u64,
    /// What the thread may be told without the sentry.
    identity: Option<Identity>,
}

impl Slot {
    /// Whether the owner's base is its own alone. `None` without an owner.
    fn owner_alone(&self) -> Option<Claim> {
        let owner = self.claims.iter().find(|claim| Some(claim.area) == self.owner)?;
        let alone = self.claims.iter().all(|claim| claim.area == owner.area || claim.base != owner.base);
        alone.then_some(*owner)
    }
}

impl Bases {
    /// Makes the table valid; to be called before any guest code runs.
    pub fn prepare(&self, memory: &ControlMemory) {
        let mut slots = lock(&self.slots);
        slots.resize(bases::SLOTS as usize, Slot::default());
        for slot in 0..bases::SLOTS {
            memory.write_base(bases::NEGATED + 8 * slot, NOBODY);
        }
    }

    /// Notes that the thread with `area`, which stands still, has `base` from now on.
    pub fn claim(&self, memory: &ControlMemory, area: u64, base: u64, identity: Option<Identity>) {
        let mut slots = lock(&self.slots);
        let number = slot_of(base);
        let Some(slot) = slots.get_mut(number as usize) else { return };
        slot.claims.push(Claim { area, base, identity });
        publish(memory, number, slot);
    }

    /// Notes that the thread with `area`, which stands still, does not have `base` any more.
    pub fn release(&self, memory: &ControlMemory, area: u64, base: u64) {
        let mut slots = lock(&self.slots);
        let number = slot_of(base);
        let Some(slot) = slots.get_mut(number as usize) else { return };
        slot.claims.retain(|claim| claim.area != area);
        publish(memory, number, slot);
    }
}

/// Makes the table say who owns the slot. An owner remains one for as long as it claims the slot: it may be about to read its area's address.
fn publish(memory: &ControlMemory, number: u64, slot: &mut Slot) {
    let negated = bases::NEGATED + 8 * number;
    if !slot.claims.iter().any(|claim| Some(claim.area) == slot.owner) {
        memory.write_base(negated, NOBODY);
        slot.owner = slot.claims.first().map(|claim| claim.area);
        if let Some(area) = slot.owner {
            memory.write_base(bases::AREAS + 8 * number, area_address(area));
        }
    }
    let owner = slot.owner_alone();
    let identity = owner.and_then(|claim| claim.identity);
    let answer =
        |id: fn(Identity) -> u32| identity.map_or(0, |identity| u64::from(id(identity)) | bases::VALID);
    memory.write_base(bases::PROCESS + 8 * number, answer(|identity| identity.process));
    memory.write_base(bases::THREAD + 8 * number, answer(|identity| identity.thread));
    memory.write_base(negated, owner.map_or(NOBODY, |claim| claim.base.wrapping_neg()));
}

/// The slot that `base` belongs to.
fn slot_of(base: u64) -> u64 {
    base >> 12 & (bases::SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(slots: &Bases, base: u64) -> Option<u64> {
        let slots = lock(&slots.slots);
        slots[slot_of(base) as usize].owner_alone().map(|claim| claim.area)
    }

    #[test]
    fn threads_with_one_base_share_nothing_until_one_is_left() {
        let memory = ControlMemory::new().expect("a memfd can be made");
        let bases = Bases::default();
        bases.prepare(&memory);
        bases.claim(&memory, 1, 0x7000, None);
        assert_eq!(owner(&bases, 0x7000), Some(1));
        bases.claim(&memory, 2, 0x7000, None);
        assert_eq!(owner(&bases, 0x7000), None);
        bases.release(&memory, 1, 0x7000);
        assert_eq!(owner(&bases, 0x7000), Some(2));
    }

    #[test]
    fn the_first_thread_keeps_a_slot_that_others_want() {
        let memory = ControlMemory::new().expect("a memfd can be made");
        let bases = Bases::default();
        bases.prepare(&memory);
        bases.claim(&memory, 1, 0x7000, None);
        bases.claim(&memory, 2, 0x10_7000, None);
        assert_eq!(owner(&bases, 0x7000), Some(1));
        bases.release(&memory, 1, 0x7000);
        assert_eq!(owner(&bases, 0x7000), Some(2));
        bases.release(&memory, 2, 0x10_7000);
        assert_eq!(owner(&bases, 0x7000), None);
    }
}
