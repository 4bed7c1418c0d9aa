-- When an account was disabled: from then on its retention counts. Of those that are, it counts from now.
ALTER TABLE users ADD COLUMN disabled_at INTEGER;
UPDATE users SET disabled_at = unixepoch() * 1000000 WHERE disabled;
