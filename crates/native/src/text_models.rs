//! From a decoder as files describe it to one that the engine drives: the plan, the threads, and what the engine must know.

use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::runtime::{LoadedModel, LocalFiles, PlanStatistics, StoredPlan, TextModelInfo, TokenizerSpec};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::{Pool, PoolOptions};

use crate::decoder::DecoderModel;
use crate::plan::{PlanOptions, PlanTextModel, Plans};
use crate::runtime::NativeOptions;

/// Makes language models that share one pool. Other models compute on its threads too.
#[derive(Debug, Default)]
pub(crate) struct TextModels {
    pool_options: PoolOptions,
    plans: Plans,
    pool: Mutex<Option<Arc<Pool>>>,
}

impl TextModels {
    pub(crate) fn new(options: NativeOptions) -> TextModels {
        let plans = Plans::new(options.plans, options.plans_folder);
        TextModels { pool_options: options.pool, plans, pool: Mutex::default() }
    }

    /// Makes a model ready; `files` are those it was read from.
    ///
    /// # Errors
    /// [`Error::Malformed`] for weights that are not finite, [`Error::Unavailable`] when no thread can be started.
    pub(crate) fn load(
        &self,
        files: &LocalFiles,
        model: &DecoderModel,
        tokenizer: TokenizerSpec,
        chat_template: Option<String>,
    ) -> Result<LoadedModel> {
        let pool = self.pool()?;
        let plan = Arc::new(self.plans.plan(files, model, &pool)?);
        plan.forget_pages();
        for tensor in plan.non_finite() {
            let (name, row, rows) = (&tensor.tensor, tensor.row, tensor.rows);
            tracing::warn!(tensor = %name.escape_debug(), row, rows, "has weights that are not finite");
        }
        let info = TextModelInfo {
            vocab_size: model.spec.vocab_size,
            context_length: model.spec.context_length,
            tokenizer,
            chat_template,
        };
        Ok(LoadedModel::Text(Arc::new(PlanTextModel::new(plan, pool, info))))
    }

    /// Maps what an earlier load left on the disk; see [`Plans::fetch`].
    pub(crate) fn fetch_plan(&self, files: &LocalFiles) -> Box<dyn Send> {
        if !self.plans.has_folder() {
            return Box::new(());
        }
        // Where there are no threads, loading says so.
        Box::new(self.pool().ok().and_then(|pool| self.plans.fetch(files, &pool)))
    }

    /// Returns what came of plans.
    ///
    /// # Errors
    /// When their folder cannot be listed.
    pub(crate) fn plan_statistics(&self) -> Result<PlanStatistics> {
        self.plans.statistics()
    }

    /// Returns the plans on the disk.
    ///
    /// # Errors
    /// When their folder cannot be listed.
    pub(crate) fn stored_plans(&self) -> Result<Vec<StoredPlan>> {
        self.plans.stored()
    }

    /// Removes one of them.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn remove_plan(&self, name: &str) -> Result<()> {
        self.plans.remove(name)
    }

    /// Returns how models are compiled.
    pub(crate) fn plan_options(&self) -> PlanOptions {
        self.plans.options()
    }

    /// Returns the threads, which start when they are first asked for.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the system gives none.
    pub(crate) fn pool(&self) -> Result<Arc<Pool>> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*pool {
            return Ok(Arc::clone(pool));
        }
        let started = Pool::new(&self.pool_options)
            .map_err(|error| Error::Unavailable { what: "threads for models".into(), reason: error.to_string() })?;
        Ok(Arc::clone(pool.insert(Arc::new(started))))
    }
}
