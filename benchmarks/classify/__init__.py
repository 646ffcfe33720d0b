"""How long it takes to say what policy says of a first packet: step 4 of the datapath, one direction."""
