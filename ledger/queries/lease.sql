SELECT lease_budgets($1::jsonb, $3) AS budgets, lease_rates($2::jsonb, $3) AS rates
