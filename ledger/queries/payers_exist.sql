SELECT EXISTS (SELECT FROM customers) AS customers, EXISTS (SELECT FROM tags WHERE budget_id IS NOT NULL) AS tags
