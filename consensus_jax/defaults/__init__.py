"""The trained defaults: a reward model, a policy, and how they are made."""
