"""The analyst's page: a Streamlit script and one module for each view."""
