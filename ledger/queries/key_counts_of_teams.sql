SELECT team_id AS id, count(*) AS keys FROM virtual_keys WHERE team_id = ANY($1::text[]) GROUP BY team_id
