// <div data-location="/path">: the answer to a form, which is not to be sent again when the page is loaded anew.

const element = document.querySelector("[data-location]");
if (element) history.replaceState(null, "", element.dataset.location);
