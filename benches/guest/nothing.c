/* Ends at once, so that what it costs is what a sandbox and a process cost; with an argument it waits for the end of its
 * input first. */
#include <unistd.h>

int main(int count, char **arguments)
{
    char byte;
    (void)arguments;
    while (count > 1 && read(0, &byte, 1) > 0)
        ;
    return 0;
}
