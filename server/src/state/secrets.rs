//! Random keys that all servers with one database share.

use sqlx::Row;

use super::{State, StateError, failed};

impl State {
    /// The key that URLs of the data endpoint are signed with. It is made by whoever asks first.
    pub async fn data_key(&self) -> Result<[u8; 64], StateError> {
        const NAME: &str = "data-urls";
        let mut key = [0; 64];
        getrandom::fill(&mut key).map_err(|_| StateError::Random)?;
        sqlx::query("INSERT INTO secret (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(NAME)
            .bind(hex::encode(key))
            .execute(&self.pool)
            .await
            .map_err(failed("keep a key"))?;
        let row = sqlx::query("SELECT value FROM secret WHERE name = $1").bind(NAME).fetch_one(&self.pool).await;
        let kept: String = row.and_then(|row| row.try_get("value")).map_err(failed("find a key"))?;
        hex::decode_to_slice(kept, &mut key).map_err(|_| StateError::Damaged(format!("the key {NAME}")))?;
        Ok(key)
    }
}
