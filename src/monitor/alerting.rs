//! What the monitor has for rules and alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Monitor;
use crate::alerts::{Alert, Raised};
use crate::backend::{AlertQuery, Outbox};
use crate::error::Result;
use crate::rules::Rules;

impl Monitor {
    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The part of the store that keeps alerts.
    #[must_use]
    pub fn outbox(&self) -> &dyn Outbox {
        self.backend.outbox()
    }

    /// Waits until something was raised here.
    pub async fn raised(&self) {
        self.raised.notified().await;
    }

    /// Reads alerts, the newest first.
    ///
    /// # Errors
    /// Store.
    pub async fn alerts(&self, query: AlertQuery) -> Result<Vec<Alert>> {
        self.backend.outbox().alerts(query).await
    }

    /// Adds an alert that only shows whether it arrives; returns its id. The keeper delivers it.
    ///
    /// # Errors
    /// Store.
    pub async fn test_target(&self, target: &str) -> Result<String> {
        let now = self.now();
        let id = Alert::fresh_id(now, 0);
        let row = Raised::Test { target: target.to_owned(), id: id.clone(), at: now };
        self.backend.outbox().raise(row).await?;
        self.raised.notify_one();
        Ok(id)
    }

    /// Counts what became of an alert: `delivered`, `refused` (it is tried again) or `failed`.
    pub fn alert_done(&self, target: &str, what: &str) {
        self.metrics.alert(target, what);
    }

    /// Takes how many alerts wait for each target.
    pub fn alerts_wait(&self, waiting: BTreeMap<String, u64>) {
        self.metrics.alerts_wait(waiting);
    }
}
