"""The types that every kernel shares."""

ctypedef fused real:
    float
    double

ctypedef unsigned short bfloat16    # the upper half of a float32 number: what images hold at precision `medium`

ctypedef fused stored:  # what an image holds; bfloat16 is computed with as float
    float
    double
    bfloat16
