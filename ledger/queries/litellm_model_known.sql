SELECT digest FROM imported_rows WHERE entity = 'model' AND id = jsonb_build_array($1::text)::text
