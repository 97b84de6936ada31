SELECT hash FROM passwords WHERE user_id = $1
