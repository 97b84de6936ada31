UPDATE recorded SET at = to_timestamp($1) WHERE at < to_timestamp($1)
