//! The faults, each from its beginning to the end of its repair.

use std::time::Duration;

use super::load::Load;
use super::proxy::Hearing;
use super::rig::{Rig, SERVERS};
use crate::support::PATIENCE;
use crate::torture::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    ServerKilled,
    ServerFrozen,
    PrimaryKilled,
    PrimaryFrozen,
    StandbyStopped,
    CommitsCut,
    NotHearing,
    KeeperPaused,
    FeedPruned,
    HistorySetBack,
}

pub const FAULTS: [Fault; 10] = [
    Fault::ServerKilled,
    Fault::ServerFrozen,
    Fault::PrimaryKilled,
    Fault::PrimaryFrozen,
    Fault::StandbyStopped,
    Fault::CommitsCut,
    Fault::NotHearing,
    Fault::KeeperPaused,
    Fault::FeedPruned,
    Fault::HistorySetBack,
];

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

impl Fault {
    /// Makes the fault under load, and repairs it: afterwards all servers and both databases run.
    pub async fn happen(self, rig: &mut Rig, load: &Load, dice: &mut Dice) {
        let server = dice.below(SERVERS as u64) as usize;
        match self {
            Self::ServerKilled => rig.kill_server(server, Duration::from_millis(dice.below(6_000))).await,
            Self::ServerFrozen => {
                // Counted as gone, or not, or just so.
                let for_millis = [500, 2_000, 4_000, 5_000, 8_000][dice.below(5) as usize];
                freeze(rig, server, for_millis).await;
            }
            Self::PrimaryKilled => {
                rig.kill_primary().await;
                pause(dice.below(1_500)).await;
                rig.promote().await;
                pause(dice.below(2_000)).await;
                rig.renew_standby().await;
            }
            Self::PrimaryFrozen => {
                let old = rig.primary;
                rig.freeze(old, true);
                pause(dice.below(1_500)).await;
                rig.promote().await;
                pause(dice.below(4_000)).await;
                // It is back, and must not be followed.
                rig.freeze(old, false);
                pause(1_000).await;
                rig.renew_standby().await;
            }
            Self::StandbyStopped => {
                rig.freeze(1 - rig.primary, true);
                // Now and then for longer than a silent session may be silent.
                pause([500, 2_000, 6_000, 14_000][dice.below(4) as usize]).await;
                rig.freeze(1 - rig.primary, false);
            }
            Self::CommitsCut => {
                let cuts = 10 + dice.below(20) as usize;
                let proxy = &rig.proxies[rig.primary];
                proxy.cut(cuts);
                for _ in 0..100 {
                    pause(50).await;
                    if proxy.left() == 0 {
                        break;
                    }
                }
                proxy.cut(0);
                assert!(proxy.taken() > 0, "no COMMIT was cut");
            }
            Self::NotHearing => {
                let hearing = [Hearing::Nothing, Hearing::NoNotifications][dice.below(2) as usize];
                rig.proxies.iter().for_each(|proxy| proxy.let_hear(hearing));
                pause(1_000 + dice.below(3_000)).await;
                rig.proxies.iter().for_each(|proxy| proxy.let_hear(Hearing::All));
            }
            Self::KeeperPaused => {
                let keeper = rig.keeper(load).await;
                freeze(rig, keeper, 6_000 + dice.below(1_500)).await;
            }
            Self::FeedPruned => {
                // Too short to be counted as gone.
                rig.signal(server, libc::SIGSTOP);
                pause(1_000).await;
                rig.rows("DELETE FROM feed WHERE last_seq < (SELECT seq FROM head)").await;
                rig.signal(server, libc::SIGCONT);
            }
            Self::HistorySetBack => {
                let epoch = rig.epoch().await;
                let backup = rig.back_up().await;
                let before = load.truth.acknowledged();
                pause(500 + dice.below(1_500)).await;
                assert!(load.truth.acknowledged() > before, "there is something to lose");
                rig.restore(backup).await;
                load.truth.rebase(&rig.kinds().await);
                rig.renew_standby().await;
                let begun = std::time::Instant::now();
                while rig.epoch().await == epoch {
                    assert!(begun.elapsed() < PATIENCE, "no server begins a new epoch");
                    pause(50).await;
                }
            }
        }
    }
}

async fn freeze(rig: &Rig, server: usize, for_millis: u64) {
    rig.signal(server, libc::SIGSTOP);
    pause(for_millis).await;
    rig.signal(server, libc::SIGCONT);
}
