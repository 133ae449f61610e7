// The public header must stand alone, as C17 and as C++, and the installed library must answer. (scripts/check-example.sh compiles this
// file both ways and runs it.)
#include <quern.h>
#include <stdio.h>

int main(void) {
    printf("quern %s: %s\n", qn_version(), qn_status_text(QN_OK));
    return qn_last_error()[0] == '\0' ? 0 : 1;
}
