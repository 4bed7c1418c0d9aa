-- Which of a client's published keys a token was given for: it ends with that key.

ALTER TABLE tokens ADD COLUMN key_thumbprint TEXT;
