//! What goes wrong: one fault after the other, drawn with a seed.
//!
//! A nemesis brings a fault about, lets it be for a while, and puts everything in order again. Then
//! the cluster must serve within [`LIVENESS`](arena::LIVENESS). To add one: a variant of [`Fault`], a
//! line in [`DECK`], and a method of [`Arena`] in the file of its kind.

mod arena;
mod disk;
mod failpoints;
mod membership;
mod modules;
mod network;
mod processes;

pub(crate) use arena::{Arena, Probe, Tally, Window};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// The leader hears nobody, and nobody hears it.
    IsolateLeader,
    /// The same for another node.
    IsolateFollower,
    /// Two groups, neither of which hears the other.
    Halves,
    /// One group does not hear the other, which hears it.
    OneWay,
    /// All hear one node, and only that one.
    Bridge,
    /// Every byte comes late.
    Delay,
    /// Few bytes at a time.
    Throttle,
    /// All connections break, and new ones for a while.
    Reset,
    KillLeader,
    KillFollower,
    KillMajority,
    KillAll,
    /// A node is cut off, and another one killed.
    IsolateAndKill,
    /// A node ends in the middle of something.
    Failpoint,
    /// SIGSTOP, and SIGCONT after others have taken over.
    PauseLeader,
    PauseFollower,
    /// SIGTERM to a follower, which comes back.
    Restart,
    /// SIGTERM to the leader, which comes back.
    HandOver,
    AddNode,
    RemoveNode,
    /// A node dies for good, and another one takes its place.
    ReplaceNode,
    /// Another state machine and back, while something else goes wrong.
    SwitchModule,
    FullDisk,
}

/// One round. Each fault is in it as often as it says, and the order is drawn anew for each.
const DECK: [(Fault, usize); 23] = [
    (Fault::IsolateLeader, 2),
    (Fault::IsolateFollower, 1),
    (Fault::Halves, 1),
    (Fault::OneWay, 2),
    (Fault::Bridge, 1),
    (Fault::Delay, 1),
    (Fault::Throttle, 1),
    (Fault::Reset, 1),
    (Fault::KillLeader, 2),
    (Fault::KillFollower, 1),
    (Fault::KillMajority, 1),
    (Fault::KillAll, 2),
    (Fault::IsolateAndKill, 1),
    (Fault::Failpoint, 3),
    (Fault::PauseLeader, 2),
    (Fault::PauseFollower, 1),
    (Fault::Restart, 1),
    (Fault::HandOver, 1),
    (Fault::AddNode, 1),
    (Fault::RemoveNode, 1),
    (Fault::ReplaceNode, 1),
    (Fault::SwitchModule, 2),
    (Fault::FullDisk, 1),
];

impl Fault {
    /// A round in an order drawn with `random`.
    pub(crate) fn round(random: &mut fastrand::Rng) -> Vec<Self> {
        let times = DECK
            .iter()
            .flat_map(|&(fault, times)| std::iter::repeat_n(fault, times));
        let mut round: Vec<_> = times.collect();
        random.shuffle(&mut round);
        round
    }

    /// As the table has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::IsolateLeader => "partition: leader isolated",
            Self::IsolateFollower => "partition: follower isolated",
            Self::Halves => "partition: two groups",
            Self::OneWay => "partition: one way",
            Self::Bridge => "partition: bridge",
            Self::Delay => "delay",
            Self::Throttle => "throttle",
            Self::Reset => "connections reset",
            Self::KillLeader => "kill -9: leader",
            Self::KillFollower => "kill -9: follower",
            Self::KillMajority => "kill -9: majority",
            Self::KillAll => "kill -9: all",
            Self::IsolateAndKill => "partition and kill -9",
            Self::Failpoint => "kill at a failpoint",
            Self::PauseLeader => "SIGSTOP: leader",
            Self::PauseFollower => "SIGSTOP: follower",
            Self::Restart => "SIGTERM: follower",
            Self::HandOver => "SIGTERM: leader hands over",
            Self::AddNode => "membership: add",
            Self::RemoveNode => "membership: remove",
            Self::ReplaceNode => "membership: replace",
            Self::SwitchModule => "module: activate, roll back",
            Self::FullDisk => "disk full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_rounds_again_and_every_fault_is_in_each() {
        let rounds = || {
            let mut random = fastrand::Rng::with_seed(5);
            [Fault::round(&mut random), Fault::round(&mut random)]
        };
        let [first, second] = rounds();
        assert_eq!(rounds(), [first.clone(), second.clone()]);
        assert_ne!(first, second);
        assert!(DECK.iter().all(|(fault, _)| first.contains(fault)));
    }
}
