//! From a decoder as files describe it to one that the engine drives: the plan, the threads, and what the engine must know.

use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::runtime::{LoadedModel, TextModelInfo, TokenizerSpec};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::Pool;

use crate::decoder::DecoderModel;
use crate::plan::{Plan, PlanTextModel};
use crate::runtime::NativeOptions;

/// Makes language models that share one pool.
#[derive(Debug, Default)]
pub(crate) struct TextModels {
    options: NativeOptions,
    pool: Mutex<Option<Arc<Pool>>>,
}

impl TextModels {
    pub(crate) fn new(options: NativeOptions) -> TextModels {
        TextModels { options, pool: Mutex::default() }
    }

    /// Compiles a model.
    ///
    /// # Errors
    /// [`Error::Malformed`] for weights that are not finite, [`Error::Unavailable`] when no thread can be started.
    pub(crate) fn load(
        &self,
        model: &DecoderModel,
        tokenizer: TokenizerSpec,
        chat_template: Option<String>,
    ) -> Result<LoadedModel> {
        let pool = self.pool()?;
        let plan = Arc::new(Plan::compile(model, self.options.plans, pool.level())?);
        plan.forget_pages();
        let (bytes, seconds) = (plan.weight_bytes(), plan.compiled_in().as_secs_f64());
        tracing::info!(plan.bytes = bytes, seconds, level = pool.level().name(), "compiled a plan");
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

    fn pool(&self) -> Result<Arc<Pool>> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = &*pool {
            return Ok(Arc::clone(pool));
        }
        let started = Pool::new(&self.options.pool).map_err(|error| Error::Unavailable {
            what: "threads for language models".into(),
            reason: error.to_string(),
        })?;
        Ok(Arc::clone(pool.insert(Arc::new(started))))
    }
}
