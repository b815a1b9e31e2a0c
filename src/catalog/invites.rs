//! Invites: how many machines of which role may join until when. Only the token's digest is stored.

use super::admin_write::{finish, kept};
use super::error::{Result, Step, conflict, invalid};
use super::sql::{Word, row, run};
use super::{AdminWrite, Catalog, sites};
use crate::domain::Millis;
use crate::protocol::admin::Invite;
use crate::protocol::hello::Role;

/// Most machines that one invite may let in.
const USES_MAX: u32 = 100_000;
/// Longest validity.
const VALID_SECS_MAX: u32 = 90 * 24 * 3600;
/// An invite is remembered this long after its end, so that a late machine is told that it expired.
const REMEMBERED_SECS_MAX: i64 = 90 * 24 * 3600;

impl Catalog {
    /// Stores an invite under the SHA-256 of its token and returns when it ends.
    ///
    /// A repetition by idempotency key is refused: the join string is a secret and was not kept.
    ///
    /// # Errors
    /// [`super::Error::Invalid`] for limits, [`super::Error::NotFound`] for the site, [`super::Error::Conflict`] for a
    /// repetition; the database.
    pub async fn add_invite(&self, write: AdminWrite, invite: Invite, token_sha256: [u8; 32]) -> Result<Millis> {
        const OPERATION: &str = "inviting machines";
        self.write(OPERATION, move |tx| {
            if kept::<Millis>(tx, &write)?.is_some() {
                let name = write.key.map(|key| key.key).unwrap_or_default();
                let reason = "was made already and its join string is shown only once";
                return Err(conflict("invite", &name, reason, "ask for another"));
            }
            check(&invite)?;
            let site = invite.site.as_deref().map(|site| sites::find(tx, site)).transpose()?;
            let expires = write.now.plus_secs(i64::from(invite.valid_secs));
            run(tx, "DELETE FROM invite WHERE expires < ?1", [write.now.plus_secs(-REMEMBERED_SECS_MAX)])?;
            let known = row(tx, "SELECT 1 FROM invite WHERE token = ?1", [token_sha256], |_| Ok(()))?;
            if known.is_some() {
                return Err(conflict("invite", "of that token", "is there already", "make a new token"));
            }
            let sql = "INSERT INTO invite (token, role, site, uses, uses_left, expires) VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
            run(tx, sql, (token_sha256, Word(invite.role), site.as_ref().map(|site| site.id), invite.uses, expires))?;
            let place = site.map_or_else(|| "by subnet".to_owned(), |site| format!("for site {}", site.name));
            let subject = format!("{} × {} {place}", invite.uses, invite.role.word());
            finish(tx, &write, OPERATION, &subject, &expires)?;
            Ok(expires)
        })
        .await
    }
}

fn check(invite: &Invite) -> Step<()> {
    if invite.role == Role::Hub {
        return Err(invalid("role of an invite", "must be agent or site-server: there is one hub"));
    }
    if !(1..=USES_MAX).contains(&invite.uses) {
        return Err(invalid("uses of an invite", format!("must be 1 to {USES_MAX}")));
    }
    if !(1..=VALID_SECS_MAX).contains(&invite.valid_secs) {
        return Err(invalid("validity of an invite", format!("must be 1 second to {} days", VALID_SECS_MAX / 86_400)));
    }
    Ok(())
}
