-- When an account was disabled: from then on its retention counts. Of those that are, it counts from now.
ALTER TABLE users ADD COLUMN disabled_at BIGINT;
UPDATE users SET disabled_at = (extract(epoch FROM now()) * 1000000)::bigint WHERE disabled;
