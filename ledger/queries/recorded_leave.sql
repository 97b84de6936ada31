DELETE FROM recorded WHERE process = $1
