"""Convert warehouse values to Customerly values: types, dates, tags and the identity of a contact."""
