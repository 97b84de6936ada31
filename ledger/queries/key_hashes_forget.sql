DELETE FROM key_hashes WHERE until <= $1
