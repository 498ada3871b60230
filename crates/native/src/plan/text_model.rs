//! A plan as the engine sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seedhouse_core::Result;
use seedhouse_core::runtime::{TextExecutor, TextModel, TextModelInfo};
use seedhouse_kernels::Pool;

use super::compile::Plan;
use super::executor::PlanExecutor;

/// Memory for keys and values of all sequences of a model; one of full length always fits. It is taken as it is used.
const CACHE_BYTES: usize = 1 << 30;

/// A language model on a plan.
pub(crate) struct PlanTextModel {
    plan: Arc<Plan>,
    pool: Arc<Pool>,
    info: TextModelInfo,
    /// What its executors hold now.
    cached_bytes: Arc<AtomicU64>,
}

impl PlanTextModel {
    pub(crate) fn new(plan: Arc<Plan>, pool: Arc<Pool>, info: TextModelInfo) -> PlanTextModel {
        PlanTextModel { plan, pool, info, cached_bytes: Arc::default() }
    }
}

impl TextModel for PlanTextModel {
    fn info(&self) -> &TextModelInfo {
        &self.info
    }

    fn executor(&self) -> Result<Box<dyn TextExecutor>> {
        let (plan, pool) = (Arc::clone(&self.plan), Arc::clone(&self.pool));
        Ok(Box::new(PlanExecutor::new(plan, pool, CACHE_BYTES, Arc::clone(&self.cached_bytes))?))
    }

    fn memory_bytes(&self) -> u64 {
        self.plan.memory_bytes() as u64 + self.cached_bytes.load(Ordering::Relaxed)
    }
}
