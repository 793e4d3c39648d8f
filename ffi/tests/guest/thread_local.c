/* A library with 1 MiB of thread-local data, which every thread of a program that it is loaded into
 * then has on its stack. */
static __thread char thread_local_data[1 << 20] = "used";

__attribute__((constructor)) static void use(void)
{
    volatile char *data = thread_local_data;

    data[sizeof thread_local_data - 1] = data[0];
}
