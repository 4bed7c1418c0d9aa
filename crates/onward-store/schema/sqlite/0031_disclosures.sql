-- What was disclosed and withheld of each copy, by its place in `deliveries`, whose rows are written whole with every step of a copy. What is in
-- `deliveries.disclosure` of copies that came before stays there; of younger ones that column names the key alone.
CREATE TABLE disclosures (
    sequence INTEGER PRIMARY KEY REFERENCES deliveries (sequence),
    disclosure TEXT NOT NULL
) STRICT;
