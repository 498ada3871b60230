//! The tensors of a model's files until roles claim them: every one that the spec asks for must be there, and none may be left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use seedhouse_core::{Error, Result};

use super::naming::{Name, Naming};
use super::role::{Presence, Role, RoleShape};
use super::source::TensorSource;
use super::spec::DecoderSpec;
use super::stored_tensor::{ShapeOrder, StoredShape, StoredTensor, Wanted};
use super::tensors::{DecoderTensors, RoleTensors};
use crate::quote::quote;

/// Tensors by name.
#[derive(Debug)]
pub(super) struct TensorTable {
    /// What errors call the file, or the folder, in which a tensor is missing.
    pub(super) subject: Arc<str>,
    /// Who says which shape a tensor has.
    pub(super) asked_by: &'static str,
    pub(super) order: ShapeOrder,
    tensors: BTreeMap<String, StoredTensor>,
    claimed: BTreeSet<String>,
}

impl TensorTable {
    /// Returns a table without tensors.
    pub(super) fn new(subject: &str, asked_by: &'static str, order: ShapeOrder) -> TensorTable {
        let (tensors, claimed) = (BTreeMap::new(), BTreeSet::new());
        TensorTable { subject: subject.into(), asked_by, order, tensors, claimed }
    }

    /// Adds a tensor under `key`, which is its name or the name without what some files write before it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is one already.
    pub(super) fn insert(&mut self, key: &str, tensor: StoredTensor) -> Result<()> {
        let subject = Arc::clone(&tensor.subject);
        match self.tensors.insert(key.to_owned(), tensor) {
            None => Ok(()),
            Some(earlier) => {
                let reason = format!("tensor {} stands here and in {}", quote(key), earlier.subject);
                Err(Error::malformed(&*subject, reason))
            }
        }
    }

    /// Returns a tensor, claimed or not.
    pub(super) fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// Claims a vector of plain numbers that is for the reader alone, if there is one of this name.
    ///
    /// # Errors
    /// As [`assign`](TensorTable::assign) for a wrong shape or type.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Option<TensorSource>> {
        let wanted = Wanted {
            shape: RoleShape::Vector(length),
            layout: Name::plain("").layout,
            place_in_fused: (0, length),
            is_exact: true,
            asked_by: self.asked_by,
        };
        self.claim(name).map(|tensor| tensor.source(&wanted)).transpose()
    }

    fn claim(&mut self, name: &str) -> Option<&StoredTensor> {
        let tensor = self.tensors.get(name)?;
        self.claimed.insert(name.to_owned());
        Some(tensor)
    }

    /// Takes out every tensor that `is_ignored` by the arithmetic.
    pub(super) fn ignore(&mut self, is_ignored: impl Fn(&str) -> bool) {
        self.claimed.extend(self.tensors.keys().filter(|name| is_ignored(name)).cloned());
    }

    /// Gives every tensor to its role.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a missing tensor or a wrong shape, [`Error::Unsupported`] for a type that cannot be read and
    /// for a tensor without a role.
    pub(super) fn assign(mut self, spec: &DecoderSpec, naming: &Naming<'_>) -> Result<DecoderTensors> {
        let of_model = self.roles(&Role::OF_MODEL, spec, naming, |name| name.template.to_owned())?;
        // Layer by layer, so that an absurd number of layers ends at the first that is missing.
        let mut layers = Vec::new();
        for layer in 0..spec.layers {
            layers.push(self.roles(&Role::OF_LAYER, spec, naming, |name| name.of_layer(layer))?);
        }
        self.refuse_leftovers(spec)?;
        Ok(DecoderTensors::new(of_model, layers))
    }

    /// Returns the numbers of one role, claiming its tensor, or `None` when there is no tensor of this name.
    pub(super) fn role(
        &mut self,
        role: Role,
        spec: &DecoderSpec,
        key: &str,
        name: Name,
    ) -> Result<Option<TensorSource>> {
        let wanted = self.wanted(role, spec, name);
        self.claim(key).map(|tensor| tensor.source(&wanted)).transpose()
    }

    fn roles(
        &mut self,
        roles: &[Role],
        spec: &DecoderSpec,
        naming: &Naming<'_>,
        key_of: impl Fn(Name) -> String,
    ) -> Result<RoleTensors> {
        let mut found = RoleTensors::new();
        for &role in roles {
            let presence = match role.presence(spec) {
                Presence::Optional => (naming.optional)(role),
                presence => presence,
            };
            let (Some(name), Presence::Required | Presence::Optional) = ((naming.name)(role), presence) else {
                continue;
            };
            let key = key_of(name);
            match self.role(role, spec, &key, name)? {
                Some(source) => {
                    found.insert(role, source);
                }
                None if presence == Presence::Required => return Err(self.missing(&key, role, spec, name)),
                None => {}
            }
        }
        Ok(found)
    }

    fn wanted(&self, role: Role, spec: &DecoderSpec, name: Name) -> Wanted {
        Wanted {
            shape: role.shape(spec),
            layout: name.layout,
            place_in_fused: role.place_in_fused(spec),
            is_exact: role == Role::PositionEmbedding,
            asked_by: self.asked_by,
        }
    }

    fn missing(&self, key: &str, role: Role, spec: &DecoderSpec, name: Name) -> Error {
        let shape = StoredShape { sizes: self.wanted(role, spec, name).sizes(), order: self.order };
        Error::malformed(&*self.subject, format!("tensor `{key}` of shape {shape} is missing"))
    }

    fn refuse_leftovers(&self, spec: &DecoderSpec) -> Result<()> {
        match self.tensors.iter().find(|(name, _)| !self.claimed.contains(*name)) {
            None => Ok(()),
            Some((_, tensor)) => Err(Error::unsupported(
                format!("tensor {} of shape {}", quote(&tensor.name), tensor.shape),
                format!("a {} model of {} layers has no place for it", spec.architecture, spec.layers),
            )),
        }
    }
}
