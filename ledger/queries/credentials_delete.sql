DELETE FROM credentials WHERE credential_name = $1
