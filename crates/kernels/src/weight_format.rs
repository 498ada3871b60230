//! How weights are stored, and where each of them lies.
//!
//! Outputs are cut into panels of 32. Within a panel the inputs follow each other in groups; a group holds its scales, and then
//! for each 32-bit word of consecutive inputs (2 of 16 bits, 4 of 8 bits) the words of the 32 outputs side by side. One vector
//! load therefore serves as many outputs as a vector has lanes, and one broadcast word of the activations serves the panel.
//!
//! ```text
//! panel = [a scale per output] block*
//! block = [factors of a super-block] group*
//! group = [scales] [offsets] words
//! ```

use crate::{ActivationForm, Level};

/// Outputs per panel.
pub(crate) const PANEL: usize = 32;

/// Inputs that share a super-block's factors.
pub(crate) const SUPER_BLOCK: usize = 256;

/// How the weights of a [`PackedMatrix`](crate::PackedMatrix) are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point of IEEE 754.
    F16,
    /// The upper half of 32-bit floating point.
    Bf16,
    /// 16-bit integers with a scale per output.
    Int16,
    /// 8-bit integers with a scale per output.
    Int8,
    /// 8-bit integers (-128 to 127) with scales for groups of inputs.
    Int8Groups(GroupScales),
    /// 4-bit integers with scales for groups of inputs: -8 to 7 without offset, 0 to 15 with one.
    Int4Groups(GroupScales),
}

/// What turns the integer `q` of a group into a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupScales {
    /// `scale * q`, an f16 scale for 32 inputs (Q8_0, Q4_0, Q5_0).
    Scale,
    /// `scale * q + offset`, both f16, for 32 inputs (Q4_1, Q5_1).
    ScaleAndOffset,
    /// `factor * scale * q`, an 8-bit signed scale for 16 inputs, an f16 factor for 256 (Q6_K, Q3_K).
    FactoredScale,
    /// `factor * scale * q + factor' * offset`, 8-bit signed scale and offset for 32 inputs, two f16 factors for 256 (Q4_K, Q5_K).
    FactoredScaleAndOffset,
}

impl GroupScales {
    /// Every kind.
    pub const ALL: [GroupScales; 4] = [
        GroupScales::Scale,
        GroupScales::ScaleAndOffset,
        GroupScales::FactoredScale,
        GroupScales::FactoredScaleAndOffset,
    ];

    /// Returns whether an offset is added.
    pub const fn has_offset(self) -> bool {
        matches!(self, GroupScales::ScaleAndOffset | GroupScales::FactoredScaleAndOffset)
    }

    /// Returns whether scales are integers, multiplied by a factor of 256 inputs.
    pub const fn has_factor(self) -> bool {
        matches!(self, GroupScales::FactoredScale | GroupScales::FactoredScaleAndOffset)
    }

    /// Returns how many inputs share a scale.
    pub const fn inputs_per_scale(self) -> usize {
        match self {
            GroupScales::FactoredScale => 16,
            GroupScales::Scale | GroupScales::ScaleAndOffset | GroupScales::FactoredScaleAndOffset => 32,
        }
    }
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [WeightFormat; 13] = [
        WeightFormat::F32,
        WeightFormat::F16,
        WeightFormat::Bf16,
        WeightFormat::Int16,
        WeightFormat::Int8,
        WeightFormat::Int8Groups(GroupScales::Scale),
        WeightFormat::Int8Groups(GroupScales::ScaleAndOffset),
        WeightFormat::Int8Groups(GroupScales::FactoredScale),
        WeightFormat::Int8Groups(GroupScales::FactoredScaleAndOffset),
        WeightFormat::Int4Groups(GroupScales::Scale),
        WeightFormat::Int4Groups(GroupScales::ScaleAndOffset),
        WeightFormat::Int4Groups(GroupScales::FactoredScale),
        WeightFormat::Int4Groups(GroupScales::FactoredScaleAndOffset),
    ];

    /// Returns the form of activations with which products are quickest at this level.
    pub fn best_activations(self, level: Level) -> ActivationForm {
        match self {
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Int16 => ActivationForm::F32,
            WeightFormat::Bf16 if level == Level::Avx512 => ActivationForm::Bf16,
            WeightFormat::Bf16 => ActivationForm::F32,
            WeightFormat::Int8 => ActivationForm::Int8Rows,
            WeightFormat::Int8Groups(_) | WeightFormat::Int4Groups(_) => ActivationForm::Int8Groups,
        }
    }

    /// Returns whether products with activations of this form exist. 32-bit floating point goes with every format.
    pub fn accepts(self, form: ActivationForm) -> bool {
        match form {
            ActivationForm::F32 => true,
            ActivationForm::Bf16 => self == WeightFormat::Bf16,
            ActivationForm::Int8Rows => self == WeightFormat::Int8,
            ActivationForm::Int8Groups => matches!(self, WeightFormat::Int8Groups(_) | WeightFormat::Int4Groups(_)),
        }
    }

    /// Returns the scales of groups, for a format that has them.
    pub(crate) fn group_scales(self) -> Option<GroupScales> {
        match self {
            WeightFormat::Int8Groups(scales) | WeightFormat::Int4Groups(scales) => Some(scales),
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 | WeightFormat::Int16 | WeightFormat::Int8 => {
                None
            }
        }
    }

    pub(crate) const fn layout(self) -> Layout {
        match self {
            WeightFormat::F32 => Layout::plain(1, 4, 0),
            WeightFormat::F16 => Layout::plain(1, 2, 0),
            WeightFormat::Bf16 => Layout::plain(2, 4, 0),
            WeightFormat::Int16 => Layout::plain(1, 2, 4),
            WeightFormat::Int8 => Layout::plain(4, 4, 4),
            WeightFormat::Int8Groups(scales) => Layout::grouped(scales, 32),
            WeightFormat::Int4Groups(scales) => Layout::grouped(scales, 16),
        }
    }
}

/// Where the parts of a panel lie, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Scales per output at the start of the panel.
    pub(crate) panel_head: usize,
    /// Factors at the start of a block.
    pub(crate) block_head: usize,
    pub(crate) groups_per_block: usize,
    /// Scales and offsets at the start of a group.
    pub(crate) group_head: usize,
    pub(crate) group_bytes: usize,
    pub(crate) group_inputs: usize,
}

impl Layout {
    const fn plain(group_inputs: usize, bytes_per_output: usize, scale_bytes: usize) -> Layout {
        Layout {
            panel_head: PANEL * scale_bytes,
            block_head: 0,
            groups_per_block: 1,
            group_head: 0,
            group_bytes: PANEL * bytes_per_output,
            group_inputs,
        }
    }

    const fn grouped(scales: GroupScales, quant_bytes: usize) -> Layout {
        let (block_head, group_head) = match scales {
            GroupScales::Scale => (0, 2),
            GroupScales::ScaleAndOffset => (0, 4),
            GroupScales::FactoredScale => (2, 2),
            GroupScales::FactoredScaleAndOffset => (4, 2),
        };
        Layout {
            panel_head: 0,
            block_head: PANEL * block_head,
            groups_per_block: if scales.has_factor() { SUPER_BLOCK / 32 } else { 1 },
            group_head: PANEL * group_head,
            group_bytes: PANEL * (group_head + quant_bytes),
            group_inputs: 32,
        }
    }

    /// Returns where a block begins within its panel.
    #[inline(always)]
    pub(crate) const fn block(&self, block: usize) -> usize {
        self.panel_head + block * (self.block_head + self.groups_per_block * self.group_bytes)
    }

    /// Returns where a group begins within its panel.
    #[inline(always)]
    pub(crate) const fn group(&self, group: usize) -> usize {
        self.block(group / self.groups_per_block) + self.block_head + group % self.groups_per_block * self.group_bytes
    }

    /// Returns how many groups hold that many inputs.
    pub(crate) const fn groups(&self, inputs: usize) -> usize {
        inputs.div_ceil(self.group_inputs)
    }

    /// Returns the bytes of a panel, or `None` when they cannot be counted.
    pub(crate) fn panel_bytes(&self, inputs: usize) -> Option<usize> {
        let groups = self.groups(inputs);
        let blocks = groups.div_ceil(self.groups_per_block);
        let groups = groups.checked_mul(self.group_bytes)?;
        blocks.checked_mul(self.block_head)?.checked_add(groups)?.checked_add(self.panel_head)
    }
}
