//! Rounds of random faults under load.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::faults::{FAULTS, Fault};
use super::load::Load;
use super::rig::{Rig, start_load};
use super::verdict::{all_take_changes, check};
use crate::torture::{Dice, count};

/// Tells how to repeat a round when its test fails.
struct Repeat {
    seed: u64,
    fault: Fault,
}

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "{:?} failed; repeat it with SESSIONWATCH_TORTURE_SEED={} SESSIONWATCH_TORTURE_ROUNDS=1 script/torture cluster::rounds",
                self.fault, self.seed
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_nothing_is_lost_and_all_servers_agree() {
    let rounds = count("ROUNDS", 3);
    let first = Dice::new().0 & (u64::MAX >> 8);
    let mut dice = Dice(first);
    let mut rig = Rig::start(&mut dice).await;
    let load = Load::new(rig.hosts());
    let mut tasks = start_load(&load, &mut dice);
    let begun = Instant::now();
    for round in 0..rounds {
        // Each round has a seed of its own, so that it can be repeated without those before it.
        let seed = first + round as u64;
        let mut dice = Dice(seed);
        let fault = FAULTS[dice.below(FAULTS.len() as u64) as usize];
        let _repeat = Repeat { seed, fault };
        let (since, before) = (Instant::now(), load.truth.acknowledged());
        load.busy.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300 + dice.below(700))).await;
        fault.happen(&mut rig, &load, &mut dice).await;
        all_take_changes(&mut rig, &load).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        load.busy.store(false, Ordering::Relaxed);
        load.is_quiet().await;
        check(&rig, &load).await;
        for task in &mut tasks {
            if task.is_finished() {
                task.await.expect("what the load sees is as the contract says");
            }
        }
        let acknowledged = load.truth.acknowledged() - before;
        println!("round {round} (seed {seed}): {fault:?}, {acknowledged} registrations, {:?}", since.elapsed());
        assert!(acknowledged > 20, "there was something to lose");
    }
    load.over.store(true, Ordering::Relaxed);
    println!("{rounds} rounds, {} registrations, 0 lost, in {:?}", load.truth.acknowledged(), begun.elapsed());
}
