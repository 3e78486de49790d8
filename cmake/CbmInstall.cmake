# Install rules live beside their targets; here is what belongs to none of them.
