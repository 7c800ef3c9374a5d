-- Tokens that were made with another token, over the API.

ALTER TABLE token ADD COLUMN made_by TEXT;
