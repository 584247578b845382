"""The networks; modules hold only weights, every state is passed in and handed back."""
