//! Who may do what: roles, permissions and the one table between them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{Error, Result};

/// What a token allows its holder. Each role may all that the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at the registry and asks its models.
    Reader,
    /// Registers and changes versions, too.
    Writer,
    /// Whatever can be done at all.
    Admin,
}

/// What a caller wants to do. Every route declares one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// What everybody may see, also without a token: that the server answers, and how it is asked.
    Open,
    /// Looking at the registry, reading stored bytes, inference.
    Read,
    /// Registering and changing.
    Write,
    /// What cannot be undone, or concerns the server as a whole.
    Administer,
}

impl Role {
    /// Every role, from the least to the most.
    pub const ALL: [Role; 3] = [Role::Reader, Role::Writer, Role::Admin];

    /// Returns the name used on the wire and on disk.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Writer => "writer",
            Role::Admin => "admin",
        }
    }

    /// Returns whether the role allows this. This is the only table of its kind.
    pub fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::Open | Permission::Read => true,
            Permission::Write => self >= Role::Writer,
            Permission::Administer => self == Role::Admin,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Role> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| Error::invalid("role", text, "must be `reader`, `writer` or `admin`"))
    }
}

impl Permission {
    /// Returns the name, which is also a verb for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Open => "open",
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Administer => "administer",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_the_table_says() {
        use Permission::{Administer, Open, Read, Write};
        let table = [
            (Role::Reader, vec![Open, Read]),
            (Role::Writer, vec![Open, Read, Write]),
            (Role::Admin, vec![Open, Read, Write, Administer]),
        ];
        for (role, allowed) in table {
            for permission in [Open, Read, Write, Administer] {
                assert_eq!(role.may(permission), allowed.contains(&permission), "{role} {permission}");
            }
        }
    }

    #[test]
    fn role_is_read_as_it_is_written_and_nothing_else_is_one() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
        }
        for text in ["", "Admin", "root", "reader "] {
            assert_eq!(text.parse::<Role>().unwrap_err().field(), Some("role"), "{text:?}");
        }
    }
}
