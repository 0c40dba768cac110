// Stage {header} and {stamp} at {at}, and publish them by {new}, the head of CPU `cpu`, if this is
// still that CPU and its {head} holds {old}.  What is behind {old} nobody looks at before the
// commit, so an aborted try leaves nothing but bytes that the next one writes again.
// A plain store releases on this architecture.  An explicit segment tells the checker a store that
// is staged.
cmp dword ptr fs:[{o} + 4], {cpu:e}
jne 53f
cmp qword ptr [{head}], {old}
jne 53f
mov qword ptr ds:[{at}], {header}
mov qword ptr ds:[{at} + 8], {stamp}
55:
mov qword ptr [{head}], {new}
52:
