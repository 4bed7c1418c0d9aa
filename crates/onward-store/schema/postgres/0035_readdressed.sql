-- Copies that took the place of earlier ones and were given another address since: whoever has an earlier one elsewhere is still to be told. A
-- copy may be here more than once, so that whoever gives it an address never waits for whoever tells.
CREATE TABLE readdressed (
    mark BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery UUID NOT NULL REFERENCES deliveries (id)
);
