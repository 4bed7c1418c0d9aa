-- Copies that took the place of earlier ones and were given another address since: whoever has an earlier one elsewhere is still to be told.
CREATE TABLE readdressed (
    mark INTEGER PRIMARY KEY,
    delivery TEXT NOT NULL REFERENCES deliveries (id)
) STRICT;
