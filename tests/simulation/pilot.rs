//! The pilot: says whose step is next in the place of the seed, so that one run after another goes through every order of
//! steps there is.
//!
//! A run is begun from the start each time and follows the last one up to the last step at which somebody else could have
//! gone on. Two orders that differ only in steps that have nothing to do with each other are one (Godefroid's sleep sets,
//! 1996). Knows no disk and no log.

use std::collections::{BTreeMap, BTreeSet};

/// What two steps may have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The bytes and size of a file.
    Bytes(u64),
    /// What stable storage has of it.
    Stable(u64),
    /// The locks on it.
    Lock(u64),
    /// The names in a directory.
    Names(u64),
    /// The numbers that new files get.
    Numbers,
}

/// What a step does with a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    Looks,
    Changes,
}

/// What a step has to do with.
type Traces = BTreeSet<(Thing, How)>;

/// A step of the run, and what could have been done in its place.
#[derive(Debug)]
struct Step {
    ready: Vec<usize>,
    before: Option<usize>,
    chosen: usize,
    /// What the chosen one has done.
    traces: Traces,
    /// Whom to choose leads nowhere new, with what they would do.
    asleep: BTreeMap<usize, Traces>,
    /// Who was chosen in earlier runs, with what they did.
    done: BTreeMap<usize, Traces>,
    /// How often somebody was interrupted before this step.
    interrupted: u32,
}

/// Which orders there are.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// Every one of so many first steps, behind those that somebody is ahead.
    FirstSteps(usize),
    /// Every one in which somebody who could have gone on is interrupted so many times at most.
    Interruptions(u32),
}

/// The pilot.
#[derive(Debug)]
pub struct Pilot {
    scope: Scope,
    /// Who goes so many steps ahead of the others.
    lead: (usize, usize),
    /// How many steps it has gone.
    pub led: usize,
    steps: Vec<Step>,
    at: usize,
    /// Whether the machine stops when the first steps are done.
    stops: bool,
    /// Whether this run turned out to be the same as an earlier one.
    pub is_known: bool,
}

impl Pilot {
    /// One before its first run.
    pub fn new(scope: Scope, lead: (usize, usize), stops: bool) -> Self {
        Self { scope, lead, led: 0, steps: Vec::new(), at: 0, stops, is_known: false }
    }

    /// Chooses among those who are ready; none where the run is to end here.
    pub fn choose(&mut self, ready: &[usize], before: Option<usize>) -> Option<usize> {
        if self.led < self.lead.1 && ready.contains(&self.lead.0) {
            self.led += 1;
            return Some(self.lead.0);
        }
        let usual = before.filter(|slot| ready.contains(slot)).unwrap_or(ready[0]);
        if matches!(self.scope, Scope::FirstSteps(depth) if self.at >= depth) {
            self.at = usize::MAX;
            return (!self.stops).then_some(usual);
        }
        if self.at == self.steps.len() {
            let mut step = Step {
                ready: ready.to_owned(),
                before,
                chosen: usual,
                traces: Traces::new(),
                asleep: self.asleep(),
                done: BTreeMap::new(),
                interrupted: self.steps.last().map_or(0, Step::interruptions),
            };
            if step.asleep.contains_key(&usual) {
                let Some(other) = step.other(self.scope) else {
                    self.is_known = true;
                    return None;
                };
                step.chosen = other;
            }
            self.steps.push(step);
        }
        let step = &self.steps[self.at];
        assert_eq!((&*step.ready, step.before), (ready, before), "BUG: a run is not repeatable");
        self.at += 1;
        Some(step.chosen)
    }

    /// Notes what the step under way has to do with.
    pub fn touch(&mut self, thing: Thing, how: How) {
        if let Some(step) = self.at.checked_sub(1).and_then(|at| self.steps.get_mut(at)) {
            step.traces.insert((thing, how));
        }
    }

    /// Turns to the next run. Says whether there is one.
    pub fn advance(&mut self) -> bool {
        (self.at, self.led, self.is_known) = (0, 0, false);
        while let Some(mut step) = self.steps.pop() {
            step.done.insert(step.chosen, std::mem::take(&mut step.traces));
            if let Some(other) = step.other(self.scope) {
                step.chosen = other;
                self.steps.push(step);
                return true;
            }
        }
        false
    }

    /// Who need not be chosen at the next step: whoever could have been at the last, and had nothing to do with it.
    fn asleep(&self) -> BTreeMap<usize, Traces> {
        let (Scope::FirstSteps(_), Some(last)) = (self.scope, self.steps.last()) else {
            // An order of steps with few interruptions may be the same as one with many.
            return BTreeMap::new();
        };
        let others = last.asleep.iter().chain(&last.done);
        others
            .filter(|(_, traces)| !depend(traces, &last.traces))
            .map(|(slot, traces)| (*slot, traces.clone()))
            .collect()
    }
}

impl Step {
    /// Somebody else who may be chosen.
    fn other(&self, scope: Scope) -> Option<usize> {
        let may = |slot: &usize| match scope {
            Scope::FirstSteps(_) => !self.asleep.contains_key(slot),
            Scope::Interruptions(most) => self.interrupted + self.costs(*slot) <= most,
        };
        self.ready.iter().copied().find(|slot| !self.done.contains_key(slot) && may(slot))
    }

    /// How often somebody was interrupted by the end of this step's choice.
    fn interruptions(&self) -> u32 {
        self.interrupted + self.costs(self.chosen)
    }

    fn costs(&self, slot: usize) -> u32 {
        u32::from(self.before.is_some_and(|before| before != slot && self.ready.contains(&before)))
    }
}

fn depend(one: &Traces, other: &Traces) -> bool {
    one.iter().any(|(thing, how)| {
        let is_there = |how| other.contains(&(*thing, how));
        is_there(How::Changes) || (*how == How::Changes && is_there(How::Looks))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs slots that have these steps each, in every order of a scope. The orders.
    fn orders(slots: &[&[(Thing, How)]], scope: Scope) -> Vec<Vec<usize>> {
        let mut pilot = Pilot::new(scope, (0, 0), false);
        let mut orders = Vec::new();
        loop {
            let (mut at, mut order) = (vec![0; slots.len()], Vec::new());
            loop {
                let ready: Vec<usize> =
                    (0..slots.len()).filter(|slot| at[*slot] < slots[*slot].len()).collect();
                if ready.is_empty() {
                    break;
                }
                let Some(slot) = pilot.choose(&ready, order.last().copied()) else { break };
                let (thing, how) = slots[slot][at[slot]];
                pilot.touch(thing, how);
                at[slot] += 1;
                order.push(slot);
            }
            if !pilot.is_known {
                orders.push(order);
            }
            if !pilot.advance() {
                return orders;
            }
        }
    }

    #[test]
    fn steps_that_depend_are_tried_in_every_order_and_others_in_one() {
        let all = Scope::FirstSteps(10);
        let change = |file| (Thing::Bytes(file), How::Changes);
        let look = |file| (Thing::Bytes(file), How::Looks);
        let count = |slots: &[&[(Thing, How)]]| {
            let orders = orders(slots, all);
            assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), orders.len());
            orders.len()
        };
        assert_eq!(count(&[&[change(1); 2], &[change(1); 2]]), 6);
        assert_eq!(count(&[&[change(1)], &[change(1)], &[change(1)]]), 6);
        assert_eq!(count(&[&[change(1); 2], &[change(2); 2]]), 1);
        assert_eq!(count(&[&[look(1); 3], &[look(1); 3]]), 1);
        // What is read is what was there before the change, or behind it.
        assert_eq!(count(&[&[look(1)], &[change(2), change(1)], &[look(2)]]), 4);
    }

    #[test]
    fn only_the_first_steps_are_tried_or_only_few_interruptions() {
        let change = (Thing::Numbers, How::Changes);
        let slots: [&[(Thing, How)]; 2] = [&[change; 3], &[change; 3]];
        assert_eq!(orders(&slots, Scope::FirstSteps(1)).len(), 2);
        assert_eq!(orders(&slots, Scope::FirstSteps(2)).len(), 4);
        assert_eq!(orders(&slots, Scope::Interruptions(0)).len(), 2);
        assert_eq!(orders(&slots, Scope::Interruptions(9)).len(), 20);
    }
}
