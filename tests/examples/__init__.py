"""The examples do what their texts say."""
